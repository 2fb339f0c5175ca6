"""Tiles: what is computed in parts equals the whole, in every dim, boundary, size and sampler."""

from dataclasses import replace

import pytest
import torch

from diffsci.batch import Batch
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.guidance.base import Observed
from diffsci.diffusion.guidance.posterior import Posterior
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.operators.block_mean import BlockMean
from diffsci.diffusion.samplers.ancestral import Ancestral
from diffsci.diffusion.samplers.dpmpp import DPMpp
from diffsci.diffusion.schedules.edm import EDM
from diffsci.diffusion.variance import Calibrated, estimate
from diffsci.errors import FieldError
from diffsci.forecasting.ensemble import Rows
from diffsci.forecasting.tiles import Tiling
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.networks.unet import UNet
from diffsci.sections import Tiles
from diffsci.training import cost
from tests.forecasting import makers
from tests.forecasting.local_network import Local
from tests.training.test_cost import needs_linux, peak

POLES = (("pole", "pole"), "periodic")


def ports(sizes, sides, target=2, condition=1, scalars=1):
    pairs = tuple((side, side) if isinstance(side, str) else side for side in sides)
    space = Grid(
        dims=("z", "y", "x")[-len(sizes) :],
        coordinates=tuple(tuple(float(i) for i in range(size)) for size in sizes),
        units=("1",) * len(sizes),
        boundary=pairs,
    )
    return Ports(target=target, condition=condition, scalars=scalars, grid=space)


def made(network, of, dtype=torch.float64):
    """The network with weights that let every input reach the output."""
    torch.manual_seed(0)
    net = network.build(of)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.to(dtype).eval().requires_grad_(False)


def inputs(of, dtype=torch.float64, rows=2):
    sizes = of.grid.sizes
    x = torch.randn(rows, of.target, *sizes, dtype=dtype)
    condition = torch.randn(rows, of.condition, *sizes, dtype=dtype) if of.condition else None
    scalars = torch.randn(rows, of.scalars, dtype=dtype) if of.scalars else None
    return x, torch.tensor(0.3, dtype=dtype), condition, scalars


def both(network, of, tiles, dtype=torch.float64):
    """What the whole gives and what the tiles give."""
    net = made(network, of, dtype)
    tiling = Tiling.of(tiles, network, of)

    def call(x, t, condition, scalars):
        return net(x, t.expand(len(x)), condition, scalars)

    given = inputs(of, dtype)
    with torch.no_grad():
        return call(*given), tiling.over(call)(*given), tiling


@pytest.mark.parametrize("cells", [16, 21])
@pytest.mark.parametrize("size", [37, 40, 53])
@pytest.mark.parametrize("sides", ["open", "wall", "zero", ("wall", "open")])
def test_a_line_of_any_size_and_boundary(sides, size, cells):
    """Sums of some tens of products in another order: 1e-14; measured at most 5e-16."""
    whole, parts, tiling = both(Local(), ports((size,), [sides]), Tiles(cells=cells))
    assert tiling.count >= 3 and tiling.cells[0] <= cells
    assert (parts - whole).abs().max() < 1e-14 * whole.abs().max()


@pytest.mark.parametrize(
    ("sizes", "sides", "cells"),
    [
        ((40,), ["periodic"], 20),
        ((100,), ["periodic"], 15),
        ((37, 40), ["open", "periodic"], (22, 20)),
        ((31, 30), ["wall", "zero"], (20, 24)),
        ((41, 24), POLES, (20, 24)),
        ((41, 23), [("pole", "open"), "periodic"], (21, 99)),
        ((24, 25, 26), ["open", "wall", "periodic"], (20, 99, 20)),
    ],
)
def test_planes_boxes_poles_and_seams(sizes, sides, cells):
    whole, parts, tiling = both(Local(), ports(sizes, sides), Tiles(cells=cells))
    assert tiling.count >= 2
    assert (parts - whole).abs().max() < 1e-14 * whole.abs().max()


def test_the_unet_in_its_local_form():
    """Its own reach, in float32: the tolerance of the docs, 1e-5 of the largest value."""
    network = UNet(channels=(8, 8), blocks=1, norm="cell", groups=4, embedding=16)
    for sizes, sides in (((95,), ["wall"]), ((96,), ["periodic"])):
        of = ports(sizes, sides)
        reach = network.reach(of).cells[0]
        whole, parts, tiling = both(network, of, Tiles(cells=2 * reach + 6), torch.float32)
        assert tiling.count >= 2
        assert (parts - whole).abs().max() < 1e-5 * whole.abs().max()
        short = Tiles(cells=2 * reach + 6, overlap=reach // 3)
        whole, parts, _ = both(network, of, short, torch.float32)
        assert (parts - whole).abs().max() > 1e-4 * whole.abs().max()  # so the test can fail


def test_the_reach_of_the_test_network_is_what_it_says():
    """And no less: a tile that looks one cell less far is wrong."""
    for sides, size in (("open", 40), ("periodic", 40)):
        of = ports((size,), [sides])
        whole, parts, _ = both(Local(), of, Tiles(cells=20, overlap=6))
        assert (parts - whole).abs().max() < 1e-14 * whole.abs().max()
        whole, parts, tiling = both(Local(), of, Tiles(cells=20, overlap=3))
        assert tiling.warning is not None
        assert (parts - whole).abs().max() > 1e-6 * whole.abs().max()


def test_every_tile_has_one_shape_and_one_layout_and_begins_at_the_stride():
    of = ports((53, 40), ["open", "periodic"])
    tiling = Tiling.of(Tiles(cells=20), Local(), of)
    seen = set()

    def call(x, t, condition, scalars):
        seen.add((x.shape, x.stride(), condition.shape, condition.stride()))
        return x

    given = inputs(of)
    with torch.no_grad():
        assert torch.equal(tiling.over(call)(*given), given[0])
    assert len(seen) == 1
    for pieces in tiling.pieces:
        assert all(piece.start % 2 == 0 for piece in pieces)
    first, last = tiling.pieces[0][0], tiling.pieces[0][-1]
    assert first.start == 0 and last.start + tiling.cells[0] == 53


def test_blended_parts_are_weighed_by_a_partition_of_unity():
    """A field that passes unchanged comes out unchanged, whatever the weights."""
    for sides, size in (("open", 53), ("periodic", 40)):
        of = ports((size,), [sides])
        for overlap in (0, 1, 4):
            tiling = Tiling.of(Tiles(cells=16, overlap=overlap), Local(), of)
            assert f"{overlap} cells are less than the network looks (6)" in tiling.warning
            x, *rest = inputs(of)
            with torch.no_grad():
                out = tiling.over(lambda x, *_: x)(x, *rest)
            assert (out - x).abs().max() < 1e-14


def test_a_larger_overlap_is_closer_and_blending_leaves_no_seam():
    of = ports((120,), ["open"])
    errors, jumps = [], []
    for overlap in (1, 3, 5):
        whole, parts, tiling = both(Local(), of, Tiles(cells=40, overlap=overlap))
        error = (parts - whole).abs()
        errors.append(error.mean())
        seams = [piece.start for piece in tiling.pieces[0][1:]]
        jumps.append(error[..., seams].max() / error.max())
    assert errors[0] > errors[1] > errors[2]
    # At a tile's edge, where its own padding is worst, its weight is least.
    assert jumps[-1] < 0.1


@pytest.mark.parametrize(
    ("network", "sizes", "sides", "tiles", "told"),
    [
        (Local(local=False), (40,), ["open"], Tiles(cells=20), ": got 'tiles', expected no tiles"),
        (UNet(groups=4), (40,), ["open"], Tiles(cells=20), ": got 'tiles', expected no tiles"),
        (
            Local(),
            (41,),
            ["periodic"],
            Tiles(cells=20),
            r"cells: got 20, expected 41 \(the whole dim\) along x: it is periodic, and no "
            "multiple of the network's stride 2",
        ),
        (
            Local(),
            (41, 24),
            POLES,
            Tiles(cells=20),
            "cells: got 20, expected 24 along x: poles need whole circles",
        ),
        (
            Local(),
            (41,),
            ["open"],
            Tiles(cells=14),
            "cells: got 14, expected 15 or more along x, .* a stride of 2 to keep; tiles have 1",
        ),
        (Local(), (40,), ["open"], Tiles(cells=13), "cells: got 13, expected 14 or more along x, "),
        (Local(), (14,), ["open"], Tiles(cells=13), r"cells: got 13, expected 14 \(the whole dim"),
        (Local(), (40, 40), ["open"] * 2, Tiles(cells=(20,)), "one for each of y, x"),
    ],
)
def test_tiles_that_cannot_be_are_refused_with_sizes_that_would_work(
    network, sizes, sides, tiles, told
):
    with pytest.raises(FieldError, match=rf"^sample\.tiles.*{told}"):
        Tiling.of(tiles, network, ports(sizes, sides))


def test_the_smallest_cells_that_are_offered_work():
    for size, least in ((41, 15), (40, 14)):
        of = ports((size,), ["open"])
        whole, parts, _ = both(Local(), of, Tiles(cells=least))
        assert (parts - whole).abs().max() < 1e-14 * whole.abs().max()


def test_one_tile_is_the_whole():
    tiling = Tiling.of(Tiles(cells=99), Local(), ports((37, 41), ["periodic", "open"]))
    assert (tiling.count, tiling.cells) == (1, (37, 41))

    def call(*_):
        raise AssertionError

    assert tiling.over(call) is call


def denoisers(of, tiles):
    denoiser = Denoiser(made(Local(), of), EDM(), "v").eval()
    tiling = Tiling.of(tiles, Local(), of)
    assert tiling.count > 1
    return denoiser, tiling.over(denoiser)


def test_whole_samples_are_the_same_with_and_without_tiles():
    """Ten calls: rounding grows with the gains of sampler and network; measured 1.4e-15."""
    of = ports((37, 40), ["open", "periodic"])
    x, _, condition, scalars = inputs(of)
    drawn = []
    for denoise in denoisers(of, Tiles(cells=22)):

        def call(x_t, t, denoise=denoise):
            return denoise(x_t, t, condition, scalars)

        with torch.no_grad():
            drawn.append(DPMpp(steps=10)(call, EDM(), 80 * x, seeded(0)))
    assert (drawn[0] - drawn[1]).abs().max() < 1e-12 * drawn[0].abs().max()


def test_the_exact_variance_is_of_whole_fields():
    of = ports((40,), ["periodic"], target=1)
    x, _, condition, scalars = inputs(of, rows=8)
    basis, drawn = Basis.of(of.grid), []
    whole, tiled = denoisers(of, Tiles(cells=20))
    batch = Batch(target=x, condition=condition, scalars=scalars, mask=None)
    with torch.no_grad():
        table = estimate(whole, EDM(), [batch] * 8, basis, levels=3)
        for denoise in (whole, tiled):

            def call(x_t, t, denoise=denoise):
                return denoise(x_t, t, condition, scalars)

            known = Calibrated(call, table, basis)
            drawn.append(Ancestral(steps=4, variance="exact")(known, EDM(), 80 * x, seeded(0)))
    assert (drawn[0] - drawn[1]).abs().max() < 1e-12 * drawn[0].abs().max()


def test_guidance_by_observations_differentiates_through_tiles():
    of = ports((40,), ["open"], target=1, condition=0)
    x, t, condition, scalars = inputs(of)
    observed = Observed(
        operator=BlockMean(factor=4), values=torch.ones(1, 1, 10).double(), noise_std=0.1
    )
    found = []
    for denoise in denoisers(of, Tiles(cells=20)):
        guided = Posterior()(denoise, EDM(), observed)
        found.append(guided(x, t, condition, scalars))
    assert (found[0] - found[1]).abs().max() < 1e-12 * found[0].abs().max()


def test_an_engine_takes_the_tiles_of_its_pipeline():
    """Members are the same: noise is of whole fields."""
    model = makers.forecasting(leads=2)
    of = Ports(target=1, condition=1, scalars=0, grid=model.grid)
    denoiser = Denoiser(made(Local(), of, torch.float32), EDM(), "v").eval()
    pipeline = model.pipeline
    pipeline = replace(pipeline, model=replace(pipeline.model, network=Local()))
    tiles = Tiles(cells=14)
    tiled = replace(pipeline, sample=replace(pipeline.sample, tiles=tiles))
    frames = makers.ring_fields().values[:1, :1, 0]
    stores = []
    for each in (pipeline, tiled):
        surrogate = replace(model, pipeline=each, denoiser=denoiser)
        engine = surrogate.engine()
        stores.append(engine.states(_rows(frames), 2, 0))
    assert engine.tiles is not None and engine.tiles.count == 8  # 16 cells, 2 of each kept
    assert (stores[0] - stores[1]).abs().max() < 1e-5 * stores[0].abs().max()


def _rows(frames):
    given = torch.from_numpy(frames).reshape(1, 1, 1, -1).expand(3, -1, -1, -1)
    return Rows(given=given, scalars=None, cases=("a",) * 3, members=(0, 1, 2))


def test_tiles_hold_less_as_the_cost_says():
    """The network's share is that of the cells; what the sampler holds of whole fields stays."""
    of = ports((128, 128), ["open", "open"], target=1, scalars=0)
    network = Local(width=64)
    tiling = Tiling.of(Tiles(cells=48), network, of)
    whole, tile = (
        cost.of_sampling(lambda: network.build(of), of, precision="fp32", tile=cells)
        for cells in (None, tiling.cells)
    )
    fields = 4 * 128 * 128 * (cost.FIELDS * of.target + of.condition)
    share = (tiling.cells[0] * tiling.cells[1]) / 128**2
    # Padding and the odd cell of down-sampling weigh a little more in a tile.
    assert tile.each - fields == pytest.approx(share * (whole.each - fields), rel=0.1)
    assert tile.each < whole.each / 3


@needs_linux
def test_a_process_saves_what_the_cost_says():
    """At least half of it: an allocator may hold on to what the first call let go."""
    of, rows = ports((256, 256), ["open", "open"], target=1, condition=0, scalars=0), 4
    network = Local(width=32)
    net, tiling = made(network, of, torch.float32), Tiling.of(Tiles(cells=64), network, of)

    def call(x, t, condition, scalars):
        return net(x, t.expand(len(x)), condition, scalars)

    given = inputs(of, torch.float32, rows)
    with torch.inference_mode():
        tiled, whole = (
            peak(lambda denoise=denoise: denoise(*given)) for denoise in (tiling.over(call), call)
        )
    said = [
        cost.of_sampling(lambda: network.build(of), of, precision="fp32", tile=cells).bytes(rows)
        for cells in (tiling.cells, None)
    ]
    assert whole - tiled > (said[1] - said[0]) / 2 > 50e6
