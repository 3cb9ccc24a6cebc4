"""Settings that decide the bits of a result besides values and source: threads, instruction set, kernels of a GPU.

torch is imported only when a job begins: its libraries choose kernels by the environment when they are loaded.
"""

import os

# With these variables the libraries use the same kernels on every x86-64 CPU with AVX2, of any maker. MKL has to use
# its oldest branch, since its kernels for AVX2 differ between CPUs of Intel and others.
PORTABLE = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}
# Other variables that choose kernels.
OTHERS = ("DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


def shell(instructions: str) -> str:
    """Shell commands that set the variables of `instructions` (native or portable) and unset all others."""
    chosen = PORTABLE if instructions == "portable" else {}
    unset = " ".join(name for name in (*PORTABLE, *OTHERS) if name not in chosen)
    return "".join([f"unset {unset}; ", *(f"export {name}={value}; " for name, value in chosen.items())])


def is_portable() -> bool:
    """Whether this process was started with the variables of `portable`."""
    return all(os.environ.get(name) == value for name, value in PORTABLE.items())


def settle(job: dict, device: str) -> None:
    """Configure torch for `device`, cpu or cuda, by a job's values.

    Raises ValueError where this process cannot do so: its variables or its CPU do not fit `instructions`.
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
    """The instruction set of the CPU's kernels, as recorded in artifacts."""
    import torch

    return f"{'portable ' if is_portable() else ''}{torch.backends.cpu.get_cpu_capability()}"


def _ask_for_equal_bits() -> None:
    """Make CUDA compute float32 without TF32, with deterministic kernels where they exist."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)  # some gradients have none: torch warns of them
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
