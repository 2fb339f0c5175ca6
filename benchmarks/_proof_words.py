"""The words of docs/proof.md around its tables."""

HEAD = """# Proof: samplers and guidance against closed forms

<!-- Written by `python -m benchmarks.proof`; do not edit by hand. -->

Nothing here is trained. For Gaussians, mixtures and stationary random fields the best possible
denoiser is known in closed form (see [exact laws](exact.md)), so what is left between a sampler's
output and the law of the data is the error of the sampler. Each number on this page is measured by
one command, `python -m benchmarks.proof`, in float64; the tests hold the samplers to the same
closed forms. How the samplers fare on trained networks is in [few calls](few_calls.md).

"""
ORDER = """\
A method of order p gains a factor 2^p of accuracy from twice the steps. Found: log2 of the
ratio of errors at three halvings (96 to 768 steps; 128 to 1024 at order 3, 256 to 2048 at order
4), smallest to largest over an anisotropic Gaussian and a mixture of four. *path*: distance to the
exact end of the probability flow. *law*: error of the variances of the exact law of the output,
where a sampler draws noise; `exact` has no error to begin with on Gaussians, and `refiner` is a
preset of few calls whose law does not become that of the data. Calls are counted, and are what
`.calls` says."""
SPREAD = """\
Standard deviation of the samples over the true one, for independent normal numbers with std 1,
0.1 and 0.01: large, middle and small scales of a field. 1 is right; below, an ensemble is over-
confident though its network is perfect. Schedule edm, sigma 80 to 0.002, Karras spacing; exact,
without Monte Carlo. Empty: the sampler cannot have that number of calls."""
FIELDS = """\
`ancestral` with `variance: exact` on random fields whose power falls over four decades. The
posterior variance by wavenumber is estimated as for a trained model, from 6000 samples of the
field and the denoiser alone. Smallest to largest ratio of standard deviations over all bands."""
GUIDANCE = """\
Prior N(0, 1), one observation y = 1 with error r. Each cell: mean and variance of the samples
over those of the exact posterior, the Kalman analysis; 1.00, 1.00 is right. ODE: `heun`, 400
steps. SDE: `ancestral`, extrapolated to infinitely many steps. See [guidance](guidance.md)."""
LIKELIHOOD = """\
Largest relative error over 32 draws of the law, with the exact trace, in 64 steps."""
