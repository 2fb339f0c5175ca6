"""Run the code of docs/six_steps.md, write what it prints into the page, and draw its figure.

    OMP_NUM_THREADS=1 python benchmarks/six_steps.py

The tests (tests/diffusion/test_six_steps_docs.py) run the page too, and compare.
"""

import contextlib
import io
import re
from pathlib import Path

import matplotlib
import torch

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "six_steps.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def run(text):
    """Run the blocks in one namespace: it, and for each block what it told and what it prints."""
    namespace, outputs = {}, []
    for number, block in enumerate(BLOCK.finditer(text), start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block[1], f"six_steps.md, block {number}", "exec"), namespace)
        outputs.append((block[2], printed.getvalue()))
    return namespace, outputs


def refreshed(text, outputs):
    """The page with what its blocks print."""
    printed = iter(outputs)

    def fill(block):
        new = next(printed)[1]
        return block[0] if block[2] is None else block[0].replace(_box(block[2]), _box(new))

    return BLOCK.sub(fill, text)


def _box(text):
    return f"```text\n{text}```\n"


def paths(space):
    """The first 8 samples of the page's chain on their way; noise is a function of the row."""
    features, smooth, spread, v = (space[name] for name in ("features", "smooth", "spread", "v"))
    like, draw, levels = space["many"][:8], space["draw"], space["T"]
    x = space["pure_noise"](space["schedule"], draw(like, 0))
    found = [x]
    for n in range(levels, 0, -1):
        variance = v[n - 1] + (features(x) @ spread[n - 1]).clamp(min=0)
        x = features(x) @ smooth[n - 1] + variance.sqrt() * draw(like, levels + 1 - n)
        found.append(x)
    return torch.cat(found, dim=1).T


def figure(space, path):
    """The laws of all levels with paths of the chain, and histograms of what it samples."""
    import matplotlib.pyplot as plt

    law = space["law"]
    line = torch.linspace(-3, 3, 301)[:, None]
    at = [space["level"](space["schedule"], t) for t in space["t"]]
    density = torch.stack([torch.exp(law.log_density(line, one)) for one in at], dim=1)
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    last = len(at) - 1
    left.imshow(
        density.clamp(max=1.0),
        origin="lower",
        extent=(-0.5, last + 0.5, -3, 3),
        aspect="auto",
        cmap="Blues",
    )
    left.plot(range(last, -1, -1), paths(space), color="black", lw=0.7)
    left.set(xlabel="level", ylabel="x", title="the copies' laws, and 8 paths of the chain")

    bins = torch.linspace(-2, 2.4, 111).tolist()
    for name, colour in (("v alone", "C0"), ("sigma^2", "C1"), ("exact", "C3")):
        right.hist(
            space["samples"][name].flatten().tolist(),
            bins=bins,
            density=True,
            histtype="step",
            color=colour,
            label=name,
        )
    line = torch.linspace(-2, 2.4, 400)[:, None]
    right.plot(line, torch.exp(law.log_density(line, at[0])), color="black", lw=1, label="the law")
    right.set(xlabel="x", title="30 000 samples, by the variance of a step")
    right.legend(frameon=False)
    path.parent.mkdir(exist_ok=True)
    fig.savefig(path, dpi=110)


def main():
    matplotlib.use("Agg")
    torch.set_num_threads(1)
    text = PAGE.read_text(encoding="utf-8")
    space, outputs = run(text)
    PAGE.write_text(refreshed(text, outputs), encoding="utf-8")
    figure(space, DOCS / "images" / "six_steps_chain.png")


if __name__ == "__main__":
    main()
