"""What the server says of itself: the model in plain values, OpenAPI, and one page."""

from __future__ import annotations

from html import escape
from typing import Any

import diffsci
from diffsci import families
from diffsci.forecasting.requests.answering import most_leads
from diffsci.forecasting.surrogate import Surrogate
from diffsci.serving.desk import Desk

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)


def described(model: Surrogate) -> dict[str, Any]:
    """The model in plain values: what it is given and what it answers."""
    task, section = model.pipeline.data.task, model.pipeline.sample
    assert section is not None
    step = None if model.step is None else model.step * task.step
    unit = model.time_unit or "s"
    told: dict[str, Any] = {
        "name": model.pipeline.name,
        "task": families.name_of(task),
        "variables": [
            {"name": c.variable, "level": c.level, "units": c.unit} for c in model.channels
        ],
        "grid": {
            dim: {"size": len(at), "first": at[0], "last": at[-1], "units": u}
            for dim, at, u in zip(
                model.grid.dims, model.grid.coordinates, model.grid.units, strict=True
            )
        },
        "scalars": list(model.scalar_names),
        "members": section.members,
        "seed": section.seed,
    }
    if task.has_leads:
        told["frames_given"] = task.given_frames
        told["step"] = {"value": step if model.time_unit or not step else step / 1e9, "units": unit}
        told["leads"] = section.leads
        told["most_leads"] = most_leads(model)
    coarse = task.given_grid(model.grid)
    if coarse.sizes != model.grid.sizes:
        told["grid_given"] = dict(zip(coarse.dims, coarse.sizes, strict=True))
    return told


_PARAMETERS = {
    "members": ("integer", "Members of each case."),
    "seed": ("integer", "Of the noise: the same request with the same seed has the same bits."),
    "lead": ("string", "How far: 10d, 6h, PT6H, or a number of steps."),
    "start": ("string", "A time of the body, several times where wanted; else the latest, or all."),
    "within": (
        "number",
        "Standard deviations that a field's mean may lie from that of training, else 10; or inf.",
    ),
}

_REFUSALS = {
    400: "A parameter that is not understood.",
    403: "A page or a host name that is not let in.",
    405: "Another method than POST.",
    408: "The body stopped coming.",
    413: "The body, or the answer, is too large.",
    415: "A body of another kind.",
    422: "Data that does not fit the model: names, units, grid, levels, frames, NaN.",
    500: "Members that left the finite numbers, or a fault of the server, which its log tells.",
    503: "Too many requests in line, or too little time; Retry-After says when to come back.",
    507: "The server's disk is full.",
}


def _parameters_of(model: Surrogate) -> dict[str, tuple[str, str]]:
    """Those that have a meaning for the model."""
    task = model.pipeline.data.task
    without = set() if task.has_leads else {"lead"}
    if task.condition_channels(len(model.channels)) == 0:
        without |= {"start", "within"}
    kept = {name: told for name, told in _PARAMETERS.items() if name not in without}
    if "lead" in kept:
        kind, text = kept["lead"]
        kept["lead"] = (kind, f"{text[:-1]}; at most {most_leads(model):,} steps.")
    return kept


def openapi(desk: Desk) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the server."""
    error = {
        "type": "object",
        "properties": {"field": {"type": "string"}, "error": {"type": "string"}},
        "required": ["field", "error"],
    }
    file = {"type": "string", "format": "binary"}
    answers: dict[str, Any] = {
        "200": {
            "description": "The ensemble, labelled, in physical units.",
            "content": {"application/x-netcdf": {"schema": file}},
        }
    }
    for status, text in _REFUSALS.items():
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        answers[str(status)] = {"description": text, "content": content}
    sample = {
        "summary": "An ensemble for the initial conditions, coarse fields or classes in the body.",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": kind}, "description": text}
            for name, (kind, text) in _parameters_of(desk.model).items()
        ],
        "requestBody": {
            "description": "NetCDF; a zipped Zarr store; or xarray's Dataset.to_dict() as JSON.",
            "content": {
                "application/x-netcdf": {"schema": file},
                "application/zip": {"schema": file},
                "application/json": {"schema": {"type": "object"}},
            },
        },
        "responses": answers,
    }
    plain = {"200": {"description": "As JSON.", "content": {"application/json": {}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"diffsci: {desk.model.pipeline.name}", "version": diffsci.__version__},
        "paths": {
            "/sample": {"post": sample},
            "/health": {"get": {"summary": "Whether it is up.", "responses": plain}},
            "/model": {"get": {"summary": "What the model is given.", "responses": plain}},
        },
        "components": {"schemas": {"Error": error}},
    }


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}
td,th{text-align:left;padding:.2rem 1.2rem .2rem 0;vertical-align:top}
th{border-bottom:1px solid #bbb}
pre{background:#f3f3f1;padding:.8rem;overflow:auto}code{background:#f3f3f1}
label{display:inline-block;margin:.2rem .8rem .2rem 0}
input[type=number],input[type=text]{width:9rem}
button{padding:.3rem 1rem}#said{margin-top:.6rem;white-space:pre-wrap}
"""

_SCRIPT = """
document.querySelector('form').addEventListener('submit', async event => {
  event.preventDefault();
  const form = event.target, said = document.getElementById('said'), query = new URLSearchParams();
  for (const key of ['members', 'seed', 'lead', 'start', 'within'])
    if (form[key] && form[key].value) query.append(key, form[key].value);
  const file = form.file && form.file.files[0];
  const kind = !file ? 'application/x-netcdf' : file.name.endsWith('.zip') ? 'application/zip'
    : file.name.endsWith('.json') ? 'application/json' : 'application/x-netcdf';
  said.textContent = 'computing ...';
  const answer = await fetch('/sample?' + query,
    {method: 'POST', body: file || '', headers: {'Content-Type': kind}});
  if (!answer.ok) { const told = await answer.json();
    said.textContent = answer.status + ' ' + told.field + ': ' + told.error; return; }
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await answer.blob()); link.download = 'ensemble.nc'; link.click();
  said.textContent = 'done: ensemble.nc';
});
"""


def page(desk: Desk, host: str) -> str:
    """One page: what the model is, how to ask it, and a form to try it.

    Args:
        desk: With the model.
        host: By which the client reached it.
    """
    told = described(desk.model)
    kept = _parameters_of(desk.model)
    variables = "".join(
        f"<tr><td>{escape(v['name'])}</td><td>{'' if v['level'] is None else v['level']}</td>"
        f"<td>{escape(v['units'])}</td></tr>"
        for v in told["variables"]
    )
    grid = ", ".join(
        f"{escape(dim)} {at['size']} ({at['first']:g} to {at['last']:g} {escape(at['units'])})"
        for dim, at in told["grid"].items()
    )
    parameters = "".join(
        f"<tr><td><code>{name}</code></td><td>{escape(text)}</td></tr>"
        for name, (_, text) in kept.items()
    )
    kinds = {"integer": "number", "string": "text", "number": "text"}
    fields = "".join(
        f"<label>{name} <input name={name} type={kinds[kind]}></label>"
        for name, (kind, _) in kept.items()
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f"<title>{escape(told['name'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(told['name'])}</h1><p>A trained model that answers with an ensemble: "
        f"<b>{escape(told['task'])}</b>, {told['members']} members unless asked otherwise. "
        f"{escape(_given(told))}</p>"
        f"<table><tr><th>variable<th>level<th>units</tr>{variables}</table><p>Grid: {grid}.</p>"
        "<h2>Ask it</h2><pre>curl --data-binary @my.nc -H 'Content-Type: application/x-netcdf' \\\n"
        f"  'http://{escape(host)}/sample?members=8&amp;seed=1' -o ensemble.nc</pre>"
        f"<table>{parameters}</table><p>The body is NetCDF, a zipped Zarr store "
        "(<code>application/zip</code>) or xarray's <code>Dataset.to_dict()</code> as JSON; the "
        "answer is NetCDF. What does not fit is refused with the field's name. "
        "<a href=/openapi.json>openapi.json</a>, <a href=/model>model</a>, "
        "<a href=/health>health</a>.</p>"
        f"<h2>Try it</h2><form><p><input type=file name=file></p>{fields}"
        "<p><button>Sample</button></p></form><div id=said></div>"
        f"<script>{_SCRIPT}</script></body></html>"
    )


def _given(told: dict[str, Any]) -> str:
    """What has to be sent, in words."""
    if "leads" in told:
        step, frames = told["step"], told["frames_given"]
        if step["value"] is None:
            return f"Send the last {frames} frames."
        value = step["value"]
        hours = step["units"] == "s" and value >= 3600
        shown = f"{value / 3600:g} h" if hours else f"{value:g} {step['units']}"
        few = "the last frame" if frames == 1 else f"the last {frames} frames"
        return f"Send {few}; each forecast step is {shown}."
    if "grid_given" in told:
        sizes = " x ".join(str(n) for n in told["grid_given"].values())
        return f"Send coarse fields of {sizes} cells, or fine ones, which are made coarse."
    if told["scalars"]:
        return f"Send the class or parameters of each sample: {', '.join(told['scalars'])}."
    return "It is given nothing: send an empty body."
