"""A network as a function of one vector: its parameters, flattened, with a leading axis of lanes.

Everything that is trained, interpolated or evaluated here goes through `Functional`. With one vector per
network a curve is one matrix product and an optimizer step one kernel; with a leading axis of lanes the same
code computes a population (several networks, curves or points t) and a single network.
"""

from contextlib import nullcontext

import torch
from torch import nn
from torch.func import functional_call

from modeconn import compiler
from modeconn.datasets import channels_last
from modeconn.folding import folded
from modeconn.forward import check_network, logits_of, takes_channels_last

DRAWS = (
    "a network that draws random numbers in training (dropout) cannot be trained together with others: "
    "set the recipe's population to 1"
)

ALONE = (
    "a batch of one image, the last one perhaps, cannot be normalized by its own statistics: change the batch (of "
    "recipe, curve, alignment or recalibration), so that more are left for the last"
)

PIECE = 128  # images
# Numbers of the widest layer's outputs, of networks computed at once. Those of networks other than perceptrons may be
# many times as large as their layers are wide (tokens).
PERCEPTRONS, OTHERS = 2**22, 2**20


class Functional:
    """`network` as a pure function of (vectors, buffers, images).

    vectors: (L, D), all parameters of L networks; buffers: name -> (L, ...); images: (L, N, C, H, W);
    logits: (L, N, classes), of the network itself and, in train mode, of auxiliary heads it may have.
    The network's own parameters and buffers are never read or written, except buffers outside its
    state dict (constants such as the normalization of pixels).
    Raises ValueError for a network that is no such function, or that returns anything but logits.
    """

    def __init__(self, network):
        check_network(network)
        self.network = network
        self._takes_channels_last = takes_channels_last(network)
        self._forward_lanes = getattr(network, "forward_lanes", None)  # of a family that says how to compute many
        self.shapes = {name: p.shape for name, p in network.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.buffer_shapes = {name: t.shape for name, t in network.state_dict().items() if name not in self.shapes}
        self.buffer_names = list(self.buffer_shapes)
        layers = (m for m in network.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd)))
        first = next((layer.weight for layer in layers), next(network.parameters()))
        self.width = len(first)  # units or channels of the first layer
        self._folded = folded(network)
        # What cannot be traced may choose by values, which is one choice for all lanes at once.
        self._chooses = any(hasattr(m, "permutable") for m in network.modules())
        self.convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in network.modules())
        modes = (self._in_training, self._in_evaluation)
        self._training, self._evaluation = compiled(*modes) if getattr(network, "compiled", False) else modes

    def together(self, batch: int) -> int:
        """How many networks are computed at once fastest, of `batch` images each, where there is no other limit."""
        if self.convolves:
            return 1
        # With fewer the time of the calls themselves shows, with more outputs leave a CPU's caches (moons, MNIST).
        widest = max(shape[0] for shape in self.shapes.values())
        limit = OTHERS if self._forward_lanes is None else PERCEPTRONS
        return max(1, min(512, limit // max(sum(self.sizes), widest * batch)))

    def pack(self, tensors):
        """State dict -> (vector (D,), buffers). Raises ValueError where a tensor is missing or misshapen."""
        for name, shape in (self.shapes | self.buffer_shapes).items():
            if name not in tensors or tensors[name].shape != shape:
                found = tuple(tensors[name].shape) if name in tensors else "nothing"
                raise ValueError(f"tensor {name}: the network needs shape {tuple(shape)}, found {found}")
        vector = torch.cat([tensors[name].reshape(-1) for name in self.shapes])
        return vector, {name: tensors[name] for name in self.buffer_names}

    def stack(self, states):
        """State dicts of L networks -> (vectors (L, D), buffers of name -> (L, ...))."""
        packed = [self.pack(tensors) for tensors in states]
        vectors = torch.stack([vector for vector, _ in packed])
        return vectors, {name: torch.stack([b[name] for _, b in packed]) for name in self.buffer_names}

    def named(self, vectors, buffers):
        """State dicts of L networks as one, every tensor with a leading axis of lanes: the inverse of `stack`."""
        lanes = [self.unpack(vector) for vector in vectors]
        return {name: torch.stack([lane[name] for lane in lanes]) for name in self.shapes} | buffers

    def unpack(self, vector):
        """(..., D) -> parameters by name, (..., *shape), as views of the vector."""
        chunks, leading = vector.split(self.sizes, -1), vector.shape[:-1]
        of_names = zip(self.shapes.items(), chunks, strict=True)
        return {name: chunk.view(*leading, *shape) for (name, shape), chunk in of_names}

    def initial_buffers(self, lanes):
        """Buffers of `lanes` networks as freshly built: the value that statistics are reset to."""
        fresh = {name: buffer for name, buffer in self.network.named_buffers() if name in self.buffer_names}
        return {name: torch.stack([b] * lanes) for name, b in fresh.items()}

    def __call__(self, vectors, buffers, images, train=False):
        """Logits (L, N, classes). With `train`, batch statistics are used and `buffers` updated in place."""
        return self.outputs(vectors, buffers, images, train)[0]

    def outputs(self, vectors, buffers, images, train=False):
        """The logits and those of auxiliary heads, which networks have in train mode at most: (L, N, classes) each.

        Raises ValueError where several lanes would draw random numbers (dropout): they share torch's generator,
        so that a lane would depend on the others.
        """
        if self.network.training != train:
            self.network.train(train)
        if not self._takes_channels_last:
            images = images.contiguous()
        in_turn = len(vectors) == 1 or self._chooses or (vectors.device.type == "cpu" and self.convolves)
        outputs = (self._in_turn if in_turn else self._at_once)(vectors, buffers, images)
        return tuple(logits.to(vectors.dtype) for logits in outputs)

    def _in_turn(self, vectors, buffers, images):
        """Compute lane by lane: on a CPU convolutions of several networks at once take 3 times as long, and more.

        Products of matrices do not: many small networks at once take a third of the time or less.
        """
        state = torch.get_rng_state() if len(vectors) > 1 else None
        outputs = []
        for lane, vector in enumerate(vectors.unbind()):
            of_lane = {name: b[lane] for name, b in buffers.items()}
            of_images = channels_last(images[lane]) if self._takes_channels_last else images[lane]
            outputs.append(self._one(vector, of_lane, of_images))
        if state is not None and not torch.equal(state, torch.get_rng_state()):
            raise ValueError(DRAWS)
        return tuple(torch.stack(logits) for logits in zip(*outputs))

    def _one(self, vector, buffers, images):
        if self.network.training:
            # Re-estimating statistics, the only use without gradients, has another momentum in each batch, and would be
            # compiled again for each.
            compute = self._training if torch.is_grad_enabled() else self._in_training
            return compute(vector, buffers, images)
        # Here images do not depend on each other, and in small batches activations stay in a CPU's caches.
        piece = PIECE if images.device.type == "cpu" else len(images)
        tensors = self._folded.tensors(self.unpack(vector) | buffers)
        pieces = [self._evaluation(tensors, part) for part in images.split(piece)]
        return tuple(torch.cat(logits) for logits in zip(*pieces))

    def _at_once(self, vectors, buffers, images):
        if self._forward_lanes is not None:
            return (self._forward_lanes(self.unpack(vectors), images),)
        try:
            return torch.vmap(self._lane, randomness="error")(vectors, buffers, images)
        except RuntimeError as error:
            if "random operation" not in str(error):
                raise
            raise ValueError(DRAWS) from None

    def _lane(self, vector, buffers, images):
        if self.network.training:
            return self._in_training(vector, buffers, images)
        return self._in_evaluation(self._folded.tensors(self.unpack(vector) | buffers), images)

    def _in_training(self, vector, buffers, images):
        try:
            with arithmetic(self.network, images.device), exact(self.network):
                output = functional_call(self.network, self.unpack(vector) | buffers, (images,))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(ALONE) from None
        return logits_of(output, training=True)

    def _in_evaluation(self, tensors, images):
        with arithmetic(self.network, images.device):
            output = self._folded(tensors, images)
        return logits_of(output, training=False)


def arithmetic(network, device):
    """A context in which `network` computes in its `precision`, float32 where it has none.

    bfloat16: convolutions, matrix products and the operations between them; weights, their gradients and updates,
    running statistics and losses stay float32.
    """
    reduced = getattr(network, "precision", "float32") == "bfloat16"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=reduced)


def exact(network):
    """A context in which batch normalization of `network` is exact if it says `exact` (see `normalization`).

    Compiled networks sum in parts anyway.
    """
    if not getattr(network, "exact", False) or torch.compiler.is_compiling():
        return nullcontext()
    # Imported here, so that its source is in the fingerprint of such networks' jobs only.
    from modeconn import normalization

    return normalization.Exact()


def compiled(*functions):
    """`functions`, compiled for each input shape; without a C++ compiler unchanged, with a warning.

    Shapes are fixed, and on a GPU kernels are not chosen by timing them: the kernels of a batch must not depend on the
    batches before it, or a resumed job would give other bits.
    """
    if not compiler.present():
        print(f"compile: there is no C++ compiler {compiler.name()} here, so computing without", flush=True)
        return functions
    torch._dynamo.config.recompile_limit = 64  # combinations of shapes, modes and gradients in one job
    torch._inductor.config.deterministic = torch.cuda.is_available()
    return [torch.compile(function, dynamic=False) for function in functions]
