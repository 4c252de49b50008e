"""CAM++ as an ONNX graph, put together from its weights.

The network is that of Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking" (Interspeech 2023): two-dimensional convolutions over the spectrogram, a time-delay layer that halves the
number of frames, three densely connected blocks whose layers are masked by what they hear around them, and the mean
and deviation of what is left, projected to 192 numbers. The sizes are read from the weights.

What it is not: a faithful tracing. Normalisations that follow a convolution are folded into it, and masks are computed
once for each stretch of 100 frames, in which they are constant, instead of for each frame. Both give the same numbers
up to rounding.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from asrd_worker.engines.base import LoadError
from asrd_worker.speakers.torch_file import Tensor

FEATURES = 80
"""Bins of the spectrogram that the network reads."""

INPUT, OUTPUT = "feats", "embs"

_STRETCH = 100
"""Frames, after halving, over which a mask looks around and is constant."""

_DILATIONS = (1, 2, 2)
"""Of the three blocks; the only thing about the network that its weights do not tell."""

_EPSILON = 1e-5
"""Of all normalisations, as in torch."""

_LONE = 1e-2
"""The deviation of a single frame, by definition of the network."""

_OPSET, _IR = 17, 8
"""Read by any onnxruntime since 1.12."""


def graph_of(tensors: dict[str, Tensor]) -> bytes:
    """The network as an ONNX file: ``feats`` of shape (batch, frames, 80) to ``embs`` of shape (batch, 192).

    Raises:
        LoadError: these are not the weights of CAM++.
    """
    try:
        return _Builder(tensors).build()
    except (KeyError, ValueError) as error:
        raise LoadError(f"these are not the weights of CAM++ ({error})") from None


class _Builder:
    """Appends one node after another; each method takes and gives the name of a value."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def build(self) -> bytes:
        bins_first = self._node("Transpose", INPUT, perm=[0, 2, 1])
        frames = self._head(bins_first)
        frames = self._relu(self._conv(frames, "xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm", strides=[2]))
        stretch_of = self._stretches(frames)
        for number, dilation in enumerate(_DILATIONS, start=1):
            frames = self._block(frames, stretch_of, f"xvector.block{number}", dilation)
            frames = self._transit(frames, f"xvector.transit{number}")
        frames = self._relu(self._normalised(frames, "xvector.out_nonlinear.batchnorm"))
        pooled = self._node("Unsqueeze", self._pooled(frames), self._ints([2]))
        voice = self._conv(pooled, "xvector.dense.linear", "xvector.dense.nonlinear.batchnorm")
        self._nodes.append(helper.make_node("Squeeze", [voice, self._ints([2])], [OUTPUT]))
        return self._model(self._tensor("xvector.dense.linear.weight").shape[0])

    # --- the parts of the network -------------------------------------------------------------------------------------

    def _head(self, bins: str) -> str:
        """Two-dimensional convolutions; the bins shrink to an eighth, and become channels."""
        image = self._node("Unsqueeze", bins, self._ints([1]))
        image = self._relu(self._conv(image, "head.conv1", "head.bn1"))
        for layer in ("head.layer1", "head.layer2"):
            image = self._residual(image, f"{layer}.0", strides=[2, 1])
            image = self._residual(image, f"{layer}.1", strides=[1, 1])
        image = self._relu(self._conv(image, "head.conv2", "head.bn2", strides=[2, 1]))
        channels = self._tensor("xvector.tdnn.linear.weight").shape[1]
        return self._node("Reshape", image, self._ints([0, channels, -1]))

    def _residual(self, image: str, name: str, strides: list[int]) -> str:
        inner = self._relu(self._conv(image, f"{name}.conv1", f"{name}.bn1", strides=strides))
        inner = self._conv(inner, f"{name}.conv2", f"{name}.bn2")
        if f"{name}.shortcut.0.weight" in self._tensors:
            image = self._conv(image, f"{name}.shortcut.0", f"{name}.shortcut.1", strides=strides)
        return self._relu(self._node("Add", inner, image))

    def _block(self, frames: str, stretch_of: str, name: str, dilation: int) -> str:
        """Each layer sees the output of all before it."""
        layer = 1
        while f"{name}.tdnnd{layer}.linear1.weight" in self._tensors:
            added = self._layer(frames, stretch_of, f"{name}.tdnnd{layer}", dilation)
            frames = self._node("Concat", frames, added, axis=1)
            layer += 1
        return frames

    def _layer(self, frames: str, stretch_of: str, name: str, dilation: int) -> str:
        narrow = self._relu(self._normalised(frames, f"{name}.nonlinear1.batchnorm"))
        narrow = self._relu(self._conv(narrow, f"{name}.linear1", f"{name}.nonlinear2.batchnorm"))
        local = self._conv(narrow, f"{name}.cam_layer.linear_local", dilations=[dilation])
        around = self._node("AveragePool", narrow, kernel_shape=[_STRETCH], strides=[_STRETCH], ceil_mode=1)
        context = self._node("Add", around, self._node("ReduceMean", narrow, axes=[2], keepdims=1))
        mask = self._relu(self._conv(context, f"{name}.cam_layer.linear1"))
        mask = self._node("Sigmoid", self._conv(mask, f"{name}.cam_layer.linear2"))
        return self._node("Mul", local, self._node("Gather", mask, stretch_of, axis=2))

    def _transit(self, frames: str, name: str) -> str:
        return self._conv(self._relu(self._normalised(frames, f"{name}.nonlinear.batchnorm")), f"{name}.linear")

    def _stretches(self, frames: str) -> str:
        """In which stretch each frame is: 0, 0, ..., 1, 1, ..."""
        count = self._count(frames)
        every = self._node("Range", self._int(0), count, self._int(1))
        return self._node("Div", every, self._int(_STRETCH))

    def _pooled(self, frames: str) -> str:
        """Mean and unbiased deviation over all frames."""
        mean = self._node("ReduceMean", frames, axes=[2], keepdims=1)
        off = self._node("Sub", frames, mean)
        squares = self._node("ReduceSum", self._node("Mul", off, off), self._ints([2]), keepdims=0)
        others = self._node("Sub", self._count(frames), self._int(1))
        divisor = self._node("Cast", self._node("Max", others, self._int(1)), to=TensorProto.FLOAT)
        deviation = self._node("Sqrt", self._node("Div", squares, divisor))
        many = self._node("Greater", others, self._int(0))
        lone = self._constant(np.array(_LONE, np.float32))
        deviation = self._node("Where", many, deviation, lone)
        return self._node("Concat", self._node("Squeeze", mean, self._ints([2])), deviation, axis=1)

    # --- the parts of the parts ---------------------------------------------------------------------------------------

    def _conv(
        self,
        value: str,
        name: str,
        norm: str = "",
        *,
        strides: list[int] | None = None,
        dilations: list[int] | None = None,
    ) -> str:
        """A convolution that keeps the size but for its strides, with the normalisation after it folded in."""
        weight = self._tensor(f"{name}.weight").astype(np.float64)
        bias = self._tensors.get(f"{name}.bias", np.zeros(weight.shape[0])).astype(np.float64)
        if norm:
            scale, shift = self._scale_and_shift(norm)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = bias * scale + shift
        spread = dilations or [1] * (weight.ndim - 2)
        pads = [(size - 1) // 2 * by for size, by in zip(weight.shape[2:], spread, strict=True)]
        return self._node(
            "Conv",
            value,
            self._constant(weight),
            self._constant(bias),
            kernel_shape=list(weight.shape[2:]),
            strides=strides or [1] * len(pads),
            dilations=spread,
            pads=pads * 2,
        )

    def _normalised(self, value: str, name: str) -> str:
        scale, shift = self._scale_and_shift(name)
        scaled = self._node("Mul", value, self._constant(scale.reshape(1, -1, 1)))
        return self._node("Add", scaled, self._constant(shift.reshape(1, -1, 1)))

    def _scale_and_shift(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """What a trained normalisation does to each channel; the last one has no weights of its own."""
        mean = self._tensor(f"{name}.running_mean").astype(np.float64)
        variance = self._tensor(f"{name}.running_var").astype(np.float64)
        weight = self._tensors.get(f"{name}.weight", np.ones_like(mean))
        bias = self._tensors.get(f"{name}.bias", np.zeros_like(mean))
        scale = weight / np.sqrt(variance + _EPSILON)
        return scale, bias - mean * scale

    def _relu(self, value: str) -> str:
        return self._node("Relu", value)

    def _count(self, frames: str) -> str:
        return self._node("Gather", self._node("Shape", frames), self._int(2), axis=0)

    def _tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    # --- the graph ----------------------------------------------------------------------------------------------------

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _constant(self, array: Tensor) -> str:
        exact = array if array.dtype == np.int64 else array.astype(np.float32)
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(exact), name))
        return name

    def _int(self, value: int) -> str:
        return self._constant(np.array(value, np.int64))

    def _ints(self, values: list[int]) -> str:
        return self._constant(np.array(values, np.int64))

    def _model(self, size: int) -> bytes:
        feats = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", "frames", FEATURES])
        embs = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", size])
        graph = helper.make_graph(self._nodes, "campplus", [feats], [embs], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.checker.check_model(model, full_check=True)
        whole: bytes = model.SerializeToString(deterministic=True)
        return whole
