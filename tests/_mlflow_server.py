"""A tracking server that speaks as much of MLflow's REST interface as a run uses, in memory.

It can be taken down for a while: nothing listens then, as when a machine restarts.
"""

import json
import re
import socket
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Server:
    """Experiments and runs; `metrics` are all points that were sent, but for exact repetitions."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.experiments, self.runs, self.metrics = {}, {}, {}
        self.unknown = []
        self._lock = threading.Lock()
        self.up()

    def up(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                query = parse_qs(urlsplit(self.path).query)
                self._answer({key: values[0] for key, values in query.items()})

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                self._answer(json.loads(self.rfile.read(length) or b"{}"))

            def do_PUT(self):
                """An artifact, which is not kept."""
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer({})

            def _answer(self, asked):
                with server._lock:
                    code, told = server.answer(urlsplit(self.path).path, asked)
                content = json.dumps(told).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def down(self):
        self._http.shutdown()
        self._http.server_close()

    def points(self, key):
        """Steps of all points of a metric of all runs, in the order in which they came."""
        return [step for (name, _, step, _) in self.metrics if name == key]

    def answer(self, path, asked):
        what = path.rpartition("/mlflow/")[2]
        known = getattr(self, "_" + what.replace("/", "_").replace("-", "_"), None)
        if known is not None:
            return known(asked)
        if "/mlflow/" in path and "/mlflow-artifacts/" not in path:
            self.unknown.append(path)
            return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}
        return 200, {}

    def _experiments_get_by_name(self, asked):
        found = self.experiments.get(asked["experiment_name"])
        if found is None:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}
        return 200, {"experiment": found}

    def _experiments_create(self, asked):
        number = str(len(self.experiments) + 1)
        self.experiments[asked["name"]] = {
            "experiment_id": number,
            "name": asked["name"],
            "artifact_location": f"mlflow-artifacts:/{number}",
            "lifecycle_stage": "active",
        }
        return 200, {"experiment_id": number}

    def _runs_create(self, asked):
        number = uuid.uuid4().hex
        self.runs[number] = {
            "info": {
                "run_id": number,
                "run_uuid": number,
                "run_name": asked.get("run_name", "run"),
                "experiment_id": asked["experiment_id"],
                "status": "RUNNING",
                "start_time": asked.get("start_time", 0),
                "artifact_uri": f"mlflow-artifacts:/{number}",
                "lifecycle_stage": "active",
            },
            "data": {"metrics": [], "params": [], "tags": asked.get("tags", [])},
        }
        return 200, {"run": self.runs[number]}

    def _runs_get(self, asked):
        found = self.runs.get(asked["run_id"])
        if found is None:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}
        return 200, {"run": found}

    def _runs_search(self, asked):
        """By the value of one tag, as a run is found again by its key."""
        tag, value = re.fullmatch(r"tags\.`(.+)` = '(.+)'", asked["filter"]).groups()
        wanted = {"key": tag, "value": value}
        return 200, {"runs": [run for run in self.runs.values() if wanted in run["data"]["tags"]]}

    def _runs_update(self, asked):
        info = self.runs[asked["run_id"]]["info"]
        info["status"] = asked.get("status", info["status"])
        return 200, {"run_info": info}

    def _runs_set_tag(self, asked):
        self.runs[asked["run_id"]]["data"]["tags"].append(
            {"key": asked["key"], "value": asked["value"]}
        )
        return 200, {}

    def _runs_log_batch(self, asked):
        self.runs[asked["run_id"]]["data"]["params"] += asked.get("params", [])
        for point in asked.get("metrics", []):
            # The same point again is one, as MLflow's own store has it.
            key = (
                point["key"],
                int(point["timestamp"]),
                int(point.get("step", 0)),
                asked["run_id"],
            )
            self.metrics[key] = point["value"]
        return 200, {}

    def _runs_log_inputs(self, asked):
        return 200, {}

    def _metrics_get_history(self, asked):
        found = [
            {"key": key, "value": value, "timestamp": time, "step": step}
            for (key, time, step, run), value in self.metrics.items()
            if key == asked["metric_key"] and run == asked["run_id"]
        ]
        return 200, {"metrics": found}
