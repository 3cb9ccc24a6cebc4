"""What decides the bits of a result besides its values and sources: threads, instruction set, and how a GPU computes.

Free of torch until a job begins: which kernels its libraries choose, they ask the environment when they are loaded.
"""

import os

# With these the libraries take the kernels that every x86-64 CPU with AVX2 has, of whichever maker. For MKL that is its
# oldest branch: those for AVX2 differ between Intel's CPUs and others.
PORTABLE = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}
# Whatever else would choose kernels.
OTHERS = ("DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


def shell(instructions: str) -> str:
    """Commands by which a job's shell gets the variables of `instructions` (native or portable), and no others."""
    chosen = PORTABLE if instructions == "portable" else {}
    unset = " ".join(name for name in (*PORTABLE, *OTHERS) if name not in chosen)
    return "".join([f"unset {unset}; ", *(f"export {name}={value}; " for name, value in chosen.items())])


def is_portable() -> bool:
    """Whether this process was started with the variables of `portable`."""
    return all(os.environ.get(name) == value for name, value in PORTABLE.items())


def settle(job: dict, device: str) -> None:
    """Let torch compute on `device`, cpu or cuda, as a job's values say.

    Raises ValueError where this process cannot, since its libraries were loaded otherwise or the CPU is another.
    """
    import torch

    torch.set_num_threads(job["threads"])
    if device == "cuda":
        _ask_for_equal_bits()
    if job.get("instructions") != "portable":
        return
    if not torch.cpu._is_avx2_supported():
        raise ValueError("instructions: portable needs a CPU with AVX2, which this is not: set it to native")
    if not is_portable():
        variables = " ".join(f"{name}={value}" for name, value in PORTABLE.items())
        raise ValueError(f"instructions: portable holds where a program is started with {variables}")


def instructions() -> str:
    """The instruction set of the kernels that a CPU computes with here, as provenance says it."""
    import torch

    return f"{'portable ' if is_portable() else ''}{torch.backends.cpu.get_cpu_capability()}"


def _ask_for_equal_bits() -> None:
    """Let CUDA compute float32 as float32, not TF32, and the same work to the same bits, where it knows how."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)  # of some gradients it knows one way only, and says so
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
