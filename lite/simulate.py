"""Simulate one N-body box of Lite and project it to maps in CMD's format.

The steps of a simulation are

    linear power (CAMB) -> particle-mesh run (PySCo) -> interpolation in Lagrangian space
    -> 15 slabs (gravity only, ``Nbody_Lite``) -> feedback proxy -> 15 slabs (``Lite``)

`lite.generate` runs them for many rows of a table and combines the results to a suite.

PySCo, CAMB, Pylians and numba are optional: ``pip install -e '.[simulate]'``.
"""

import importlib
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cosmolib.data.arrays import bad_input
from cosmolib.data.cmd_format import (
    BOX_SIZE,
    HUBBLE,
    MAPS_PER_SIMULATION,
    PARAMETERS,
    RHO_CRIT,
    SLAB_DEPTH,
    SPECTRAL_INDEX,
)

OMEGA_BARYON = 0.049  # Omega_b of CAMELS, arXiv:2010.00619 section 2
SLABS = round(BOX_SIZE / SLAB_DEPTH)  # 5 slabs per axis


@dataclass(frozen=True)
class SimulationSettings:
    """Store the numerical settings of a simulation.

    Attributes
    ----------
    particles : int
        Particles per side, a power of two. 64 gives a particle Nyquist frequency of 8.04 h/Mpc.
    mesh : int
        Cells of the force mesh per side, a power of two.
    grid : int
        Pixels per side of a map. With more than ``particles``, the maps would show the lattice.
    refinement : int
        Number of tracers per particle and side, interpolated in Lagrangian space.
    lattice_shift : float
        Offset of the tracer lattice in units of the particle spacing; results must not depend on
        it.
    courant : float
        Courant factor of the time step. A factor of 4 loses 24 % of the power at k = 4 h/Mpc.
    """

    particles: int = 64
    mesh: int = 128
    grid: int = 64
    refinement: int = 3
    lattice_shift: float = 0.0
    courant: float = 1.0


@dataclass(frozen=True)
class FeedbackProxy:
    """Store the parameters of the feedback proxy, an enthalpy-gradient displacement.

    The method follows arXiv:1804.00671. Gas of overdensity ``delta`` has the "temperature"
    ``T = (1 + delta)^(gamma - 1)``; after a Gaussian smoothing of radius ``r``, the baryons are
    displaced by ``-alpha grad T``. Supernovae and AGN contribute one displacement each; the AGN
    term affects only mesh cells that are much denser than ``agn_density``:

    ``alpha_SN = sn_alpha (Omega_m / 0.3)^matter_power A_SN1^sn_power`` and
    ``r_SN = sn_radius A_SN2^radius_power``, and the same for AGN. The factor of ``Omega_m``
    compensates most of the baryon fraction ``Omega_b / Omega_m``, which varies from 0.1 to 0.5 over
    the LH range; without it, ``Omega_m`` would determine the strength of feedback.
    The proxy has the sign, the scale and the parameter ordering of TNG's feedback, and makes no
    further claim.
    """

    gamma: float = 1.6
    sn_alpha: float = 2.6e-3  # (Mpc/h)^2 at Omega_m = 0.3
    sn_power: float = 0.45
    sn_radius: float = 0.3  # Mpc/h
    agn_alpha: float = 8e-4  # (Mpc/h)^2 at Omega_m = 0.3
    agn_power: float = 0.5
    agn_radius: float = 0.4  # Mpc/h
    agn_density: float = 200.0  # 1 + delta on the mesh
    radius_power: float = 0.3
    matter_power: float = 0.7


def linear_power(omega_m, sigma_8, *, k_max=15.0, nonlinear=False):
    """Compute the matter power spectrum at z = 0 with CAMB, scaled to ``sigma_8``.

    Parameters
    ----------
    omega_m, sigma_8 : float
        The other parameters are those of CAMELS.
    k_max : float
        Largest wavenumber [h/Mpc].
    nonlinear : bool
        HMcode2020 (gravity only, arXiv:2009.01858) instead of linear theory.

    Returns
    -------
    k, power : (1000,)
        [h/Mpc] and [(Mpc/h)^3]
    """
    import camb

    pars = camb.CAMBparams()
    pars.WantCls = False
    pars.set_cosmology(
        H0=100 * HUBBLE,
        ombh2=OMEGA_BARYON * HUBBLE**2,
        omch2=(omega_m - OMEGA_BARYON) * HUBBLE**2,
        mnu=0.0,
        num_massive_neutrinos=0,
    )
    primordial = 2e-9
    pars.set_matter_power(redshifts=[0.0], kmax=k_max * HUBBLE)
    pars.InitPower.set_params(As=primordial, ns=SPECTRAL_INDEX)
    pars.NonLinear = camb.model.NonLinear_none
    results = camb.get_results(pars)
    ratio = (sigma_8 / results.get_sigma8_0()) ** 2
    if nonlinear:  # HMcode needs the correct amplitude: run again with A_s scaled
        pars.InitPower.set_params(As=primordial * ratio, ns=SPECTRAL_INDEX)
        pars.NonLinear = camb.model.NonLinear_both
        pars.NonLinearModel.set_params(halofit_version="mead2020")
        results, ratio = camb.get_results(pars), 1.0
    k, _, power = results.get_matter_power_spectrum(minkh=1e-3, maxkh=k_max, npoints=1000)
    return k, power[0] * ratio


@contextmanager
def _leaner_pysco():
    """Reduce the run time of PySCo by a third, with the same results.

    Its background table of 100,000 rows is not written, and the Green function of its Poisson
    solver, which does not change between steps, is computed once, by PySCo's own code.
    """
    importlib.import_module("pysco")  # adds its modules to the path
    fourier = importlib.import_module("fourier")
    original = fourier.inverse_laplacian_compensated

    @lru_cache(maxsize=1)
    def green_function(shape, order):
        kernel = np.ones(shape, np.complex64)
        original(kernel, order)
        return kernel.real.copy()

    def inverse_laplacian(field, order):
        field *= green_function(field.shape, order)

    savetxt = np.savetxt
    np.savetxt = lambda *arguments, **options: None
    fourier.inverse_laplacian_compensated = inverse_laplacian
    try:
        yield
    finally:
        np.savetxt, fourier.inverse_laplacian_compensated = savetxt, original


@lru_cache(maxsize=1)
def run_nbody(omega_m, sigma_8, seed, settings=SimulationSettings()):
    """Run one gravity-only simulation with PySCo (arXiv:2410.20501) from z = 49 to 0.

    The last result is cached, because rows that differ only in feedback share it.

    Parameters
    ----------
    omega_m, sigma_8 : float
    seed : int
        Seed of the initial phases.
    settings : SimulationSettings

    Returns
    -------
    displacement : (n, n, n, 3) float32
        Final minus Lagrangian position [Mpc/h], in Lagrangian order; read-only.
    """
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    import h5py
    import pysco

    n = settings.particles
    k, power = linear_power(omega_m, sigma_8)
    with tempfile.TemporaryDirectory(prefix="cosmolib-") as folder:
        table = Path(folder) / "power.txt"
        np.savetxt(table, np.column_stack([k, power]))
        param = {
            "nthreads": 1,  # one process per core is faster than threads, and reproducible
            "theory": "newton",
            "H0": 100 * HUBBLE,
            "Om_m": omega_m,
            "T_cmb": 2.7255,
            "N_eff": 3.044,
            "w0": -1.0,
            "wa": 0.0,
            "boxlen": BOX_SIZE,
            "ncoarse": int(np.log2(settings.mesh)),
            "npart": n**3,
            "z_start": 49.0,
            "seed": int(seed),
            "position_ICS": "center",
            "fixed_ICS": False,
            "paired_ICS": False,
            "dealiased_ICS": False,
            "power_spectrum_file": str(table),
            "initial_conditions": "2LPT",
            "base": folder,
            "z_out": "[0]",
            "output_snapshot_format": "HDF5",
            "save_power_spectrum": "no",
            "integrator": "leapfrog",
            "n_reorder": 10**9,  # never, to keep the Lagrangian order
            "mass_scheme": "CIC",
            "Courant_factor": settings.courant,
            "max_aexp_stepping": 10,
            "linear_newton_solver": "fft",
            "gradient_stencil_order": 5,
            "verbose": 0,
        }
        with _leaner_pysco():
            pysco.run(param)
        (snapshot,) = Path(folder, "output_00001").glob("particles_*.h5")
        with h5py.File(snapshot) as file:
            position = file["position"][:].reshape(n, n, n, 3)  # in units of the box
    lattice = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(n)
    start = np.stack(np.meshgrid(lattice, lattice, lattice, indexing="ij"), axis=-1)
    displacement = position - start
    displacement -= np.rint(displacement)  # the shorter way in the periodic box
    displacement *= np.float32(BOX_SIZE)
    displacement.setflags(write=False)
    return displacement


@lru_cache(maxsize=4)
def _interpolation_matrix(n, refinement, shift):
    """Return the matrix that interpolates from n lattice points to n * refinement tracers."""
    from scipy.interpolate import CubicSpline

    nodes = np.arange(n + 1)
    values = np.eye(n)[np.arange(n + 1) % n]  # unit vectors, periodic
    targets = (np.arange(n * refinement) + 0.5) / refinement - 0.5 + shift
    spline = CubicSpline(nodes, values, bc_type="periodic")
    return spline(targets % n).astype(np.float32), targets


def refine(displacement, settings=SimulationSettings()):
    """Interpolate the positions of tracers between particles in Lagrangian space.

    The displacement field is continuous in Lagrangian coordinates even after shell crossing.
    Interpolating it there fills voids without shot noise (arXiv:1111.3944 uses the same sheet).
    Cubic splines are used because the kinks of a linear interpolation would show the lattice in
    voids.

    Returns
    -------
    position : (m, 3) float32
        ``m = (particles * refinement)^3`` positions in [0, 25) Mpc/h.
    """
    n = len(displacement)
    matrix, targets = _interpolation_matrix(n, settings.refinement, settings.lattice_shift)
    m = len(targets)
    field = np.ascontiguousarray(np.moveaxis(displacement, -1, 0))  # (3, n, n, n)
    field = field @ matrix.T  # (3, n, n, m)
    field = matrix @ field  # (3, n, m, m)
    field = (matrix @ field.reshape(3, n, m * m)).reshape(3, m, m, m)
    start = ((targets + 0.5) * (BOX_SIZE / n)).astype(np.float32)
    field[0] += start[:, None, None]
    field[1] += start[None, :, None]
    field[2] += start[None, None, :]
    return _wrap(np.ascontiguousarray(field.reshape(3, -1).T))


def _wrap_positions(position, box):  # compiled by numba, see _compiled
    for p in range(position.shape[0]):
        for axis in range(3):
            x = position[p, axis]
            if x < 0:
                x += box
            if x >= box:  # also if a value just below zero was rounded up
                x -= box
            position[p, axis] = x
    return position


def _wrap(position):
    """Wrap positions that are at most one box away into [0, box), in place."""
    return _compiled(_wrap_positions)(position, np.float32(BOX_SIZE))


def _deposit_slabs(position, grid, slabs, box):  # compiled by numba, see _compiled
    maps = np.zeros((3, slabs, grid, grid))
    scale = grid / box
    depth = slabs / box
    for p in range(position.shape[0]):
        for axis in range(3):
            # the two remaining axes in increasing order
            x = position[p, 1 if axis == 0 else 0] * scale + 0.5
            y = position[p, 1 if axis == 2 else 2] * scale + 0.5
            slab = min(int(position[p, axis] * depth), slabs - 1)
            # cloud in cell: half of the cloud may lie in the pixel below, index i - 1
            i1 = int(x)
            j1 = int(y)
            u = x - i1
            v = y - j1
            i0 = i1 - 1 if i1 > 0 else grid - 1
            j0 = j1 - 1 if j1 > 0 else grid - 1
            if i1 == grid:
                i1 = 0
            if j1 == grid:
                j1 = 0
            maps[axis, slab, i0, j0] += (1 - u) * (1 - v)
            maps[axis, slab, i1, j0] += u * (1 - v)
            maps[axis, slab, i0, j1] += (1 - u) * v
            maps[axis, slab, i1, j1] += u * v
    return maps


@lru_cache
def _compiled(function):
    import numba

    return numba.njit(cache=True)(function)


def project(position, grid):
    """Project tracers to 15 slabs in CMD's order, ``5 * axis + slab``.

    Parameters
    ----------
    position : (m, 3) float32
        Positions in [0, 25) Mpc/h.
    grid : int
        Pixels per side.

    Returns
    -------
    maps : (15, grid, grid) float64
        Projected mass per pixel in units of the mean over all slabs: the mean of the five slabs of
        an axis is 1.
    """
    maps = _compiled(_deposit_slabs)(position, grid, SLABS, BOX_SIZE)
    maps *= SLABS * grid**2 / len(position)
    return maps.reshape(MAPS_PER_SIMULATION, grid, grid)


def density_mesh(position, mesh):
    """Return the cloud-in-cell density ``1 + delta`` by Pylians, (mesh, mesh, mesh) float32."""
    import MAS_library

    density = np.zeros((mesh,) * 3, np.float32)
    MAS_library.MA(position, density, BOX_SIZE, "CIC", verbose=False)
    density /= density.mean(dtype=np.float64)
    return density


def power_3d(density):
    """Compute the spherically averaged power of ``1 + delta`` with Pylians, CIC window corrected.

    Returns
    -------
    k, power : (nk,)
        [h/Mpc] and [(Mpc/h)^3]
    """
    import Pk_library

    result = Pk_library.Pk(density - np.float32(1), BOX_SIZE, 0, "CIC", 1, verbose=False)
    return result.k3D, result.Pk[:, 0]


def feedback_displacement(density, position, params, proxy=FeedbackProxy()):
    """Compute the displacement of baryons by the enthalpy gradient (arXiv:1804.00671).

    Parameters
    ----------
    density : (mesh, mesh, mesh)
        ``1 + delta``
    position : (m, 3) float32
        Positions of the baryons [Mpc/h].
    params : (6,)
        Row of the table, in the order of ``PARAMETERS``.
    proxy : FeedbackProxy

    Returns
    -------
    displacement : (m, 3) float32
        [Mpc/h]
    """
    import MAS_library

    omega_m, _, a_sn1, a_agn1, a_sn2, a_agn2 = params
    mesh = len(density)
    wave = 2 * np.pi * np.fft.fftfreq(mesh, BOX_SIZE / mesh)
    wave_z = 2 * np.pi * np.fft.rfftfreq(mesh, BOX_SIZE / mesh)
    k_squared = wave[:, None, None] ** 2 + wave[None, :, None] ** 2 + wave_z[None, None, :] ** 2

    temperature = np.maximum(density, 0) ** np.float32(proxy.gamma - 1)
    active = density**2 / (density**2 + np.float32(proxy.agn_density) ** 2)
    strength = (omega_m / 0.3) ** proxy.matter_power
    total = 0
    for field, alpha, radius in (
        (
            temperature,
            strength * proxy.sn_alpha * a_sn1**proxy.sn_power,
            proxy.sn_radius * a_sn2**proxy.radius_power,
        ),
        (
            temperature * active,
            strength * proxy.agn_alpha * a_agn1**proxy.agn_power,
            proxy.agn_radius * a_agn2**proxy.radius_power,
        ),
    ):
        total = total + alpha * np.exp(-0.5 * k_squared * radius**2) * np.fft.rfftn(field)
    displacement = np.empty_like(position)
    component = np.empty(len(position), np.float32)
    for axis, k_axis in enumerate(
        (wave[:, None, None], wave[None, :, None], wave_z[None, None, :])
    ):
        gradient = np.fft.irfftn(1j * k_axis * total, s=density.shape, axes=(0, 1, 2))
        MAS_library.CIC_interp(gradient.astype(np.float32), BOX_SIZE, position, component)
        displacement[:, axis] = -component
    return displacement


def simulate_one(params, seed, settings=SimulationSettings(), proxy=FeedbackProxy(), variants=()):
    """Simulate one row of a table and return the twin maps and their 3-D power spectra.

    Parameters
    ----------
    params : (6,)
        Row of the table, in the order of ``PARAMETERS``.
    seed : int
        Seed of the row.
    settings : SimulationSettings
    proxy : FeedbackProxy
    variants : sequence of SimulationSettings
        Other tracer lattices for which the same particles are projected, as a check.

    Returns
    -------
    dict of ndarray
        ``nbody``, ``hydro`` (15, grid, grid) float32 [(Msun/h)/(Mpc/h)^2]; ``k`` (nk,) [h/Mpc],
        ``power_nbody``, ``power_hydro`` (nk,) [(Mpc/h)^3]; ``variant0`` ... as ``nbody``.
    """
    params = np.asarray(params, float)
    unit = params[0] * RHO_CRIT * SLAB_DEPTH  # mean surface density of a slab
    displacement = run_nbody(params[0], params[1], int(seed), settings)
    position = refine(displacement, settings)
    gravity = project(position, settings.grid)
    density = density_mesh(position, settings.mesh)

    moved = feedback_displacement(density, position, params, proxy)
    farthest = np.abs(moved).max()
    if not farthest < BOX_SIZE:  # also if it is NaN
        where = f"feedback of {dict(zip(PARAMETERS, params.tolist(), strict=True))}"
        expected = f"less than the box, {BOX_SIZE:g}"
        raise bad_input(where, f"baryons moved by {farthest:g} Mpc/h", expected)
    moved += position
    _wrap(moved)
    baryons = OMEGA_BARYON / params[0]
    feedback = (1 - baryons) * gravity + baryons * project(moved, settings.grid)
    k, power_nbody = power_3d(density)
    mixed = (1 - baryons) * density + baryons * density_mesh(moved, settings.mesh)
    _, power_hydro = power_3d(mixed.astype(np.float32))
    out = {
        "nbody": (unit * gravity).astype(np.float32),
        "hydro": (unit * feedback).astype(np.float32),
        "k": k,
        "power_nbody": power_nbody,
        "power_hydro": power_hydro,
    }
    for i, other in enumerate(variants):
        again = project(refine(displacement, other), other.grid)
        out[f"variant{i}"] = (unit * again).astype(np.float32)
    return out
