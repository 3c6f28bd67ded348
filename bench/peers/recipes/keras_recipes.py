"""The scripts that recipes were made after, in Keras 3 on TensorFlow: the ascents of examples/conv_filter_visualization.py of 2016
and of 2019 and of keras.io's visualizing_what_convnets_learn.py, written anew from the published text, and tf-keras-vis itself.

  keras_recipes.py WEIGHTS.h5 JOBS.json FOLDER

JOBS.json is a list of {"name", "method", "layer", "filter", "start" (float32 .npy, [height, width, 3]), "iterations" (of each
stage), "precision" (float32, as published, or float64)}; a method is a key of METHODS. For each job, FOLDER/NAME.npz gets `image`
as the last stage left it, `picture`, 8 bits, `losses`, one per iteration, `start`, the image that the
last stage began with, and `job`; a file that has the same job is kept.
FOLDER/versions.json says what computed them.
"""
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras  # noqa: E402  (after the variables above, which it reads)
import numpy  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras_vis  # noqa: E402
from PIL import Image  # noqa: E402
from tf_keras_vis.activation_maximization import ActivationMaximization  # noqa: E402
from tf_keras_vis.activation_maximization.regularizers import Norm, TotalVariation2D  # noqa: E402
from tf_keras_vis.utils.model_modifiers import ExtractIntermediateLayer, ReplaceToLinear  # noqa: E402
from tf_keras_vis.utils.scores import CategoricalScore  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

OUTPUT_SIDE, UPSCALING_STEPS, UPSCALING_FACTOR = 412, 9, 1.2  # Of the script of 2019.


def loss_and_gradient(model, image, number, margin=0):
    """Of the mean of a filter's map, without `margin` values at each edge; the image is [height, width, 3]."""
    inputs = tf.constant(image[None], keras.config.floatx())
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        values = model(inputs)[..., number]
        loss = tf.reduce_mean(values[:, margin:values.shape[1] - margin, margin:values.shape[2] - margin])
    return float(loss), tape.gradient(loss, inputs).numpy()[0]


def climb_by_root_mean_square(model, image, number, iterations, epsilon, losses):
    """Changes the image, in double precision, as the scripts' NumPy arrays are."""
    for _ in range(iterations):
        loss, gradient = loss_and_gradient(model, image, number)
        image += gradient / (numpy.sqrt(numpy.mean(numpy.square(gradient))) + gradient.dtype.type(epsilon)) * 1.0
        losses.append(loss)


def standardise(image, deviation, epsilon):
    """In place: mean 0.5 and the given deviation."""
    image -= image.mean()
    image /= image.std() + epsilon
    image *= deviation
    image += 0.5


def bytes_of(image):
    return (numpy.clip(image, 0, 1) * 255).astype(numpy.uint8)


def keras2016(model, start, number, iterations):
    image, losses = start.astype(numpy.float64), []
    climb_by_root_mean_square(model, image, number, iterations, 1e-5, losses)
    picture = image.copy()
    standardise(picture, 0.1, 1e-5)
    return image, bytes_of(picture), losses


def keras2019(model, start, number, iterations, stages=UPSCALING_STEPS, in_place=True):
    """The script makes the 8-bit picture from a view of the image, in place. What reads the resized picture back takes mean and
    deviation from that image, which has become 0.5 and 0.25: the next stage starts from values of 0 to 1. With in_place=False,
    the picture is made from a copy, so the next stage starts from the mean and the deviation that the ascent reached, which is
    what the script's comments say.
    """
    image, losses = start.astype(numpy.float64), []
    for up in reversed(range(UPSCALING_STEPS)):
        began = image.copy()
        climb_by_root_mean_square(model, image, number, iterations, 1e-7, losses)
        reached = image.copy()
        standardised = image if in_place else image.copy()
        standardise(standardised, 0.25, 1e-7)
        stages -= 1
        if stages == 0 and up > 0:
            return reached, bytes_of(standardised), losses, began
        side = int(OUTPUT_SIDE / UPSCALING_FACTOR ** up)
        resized = numpy.array(Image.fromarray(bytes_of(standardised)).resize((side, side), Image.BICUBIC))
        image = (resized / 255 - 0.5) * 4 * image.std() + image.mean()
    standardise(image, 0.25, 1e-7)
    return reached, bytes_of(image), losses, began


def kerasio(model, start, number, iterations):
    """The page's network takes RGB in -1..1. VGG16 takes BGR in grey levels: a layer in front of it converts."""
    inputs = keras.Input(start.shape)
    adapted = keras.Model(inputs, model(inputs[..., ::-1] * 127.5))
    image, losses = start.astype(keras.config.floatx()), []
    for _ in range(iterations):
        loss, gradient = loss_and_gradient(adapted, image, number, margin=2)
        image = image + 10 * tf.math.l2_normalize(gradient).numpy()
        losses.append(loss)
    picture = image.copy()
    picture -= picture.mean()
    picture /= picture.std() + 1e-5
    picture *= 0.15
    return image, bytes_of(picture[25:-25, 25:-25] + 0.5), losses


class EpsilonOutside(keras.optimizers.RMSprop):
    """With epsilon added to the root, as TensorFlow had it before its version 2.11, not to what is under it."""

    def update_step(self, gradient, variable, learning_rate):
        velocity = self._velocities[self._get_variable_index(variable)]
        self.assign(velocity, self.rho * velocity + (1 - self.rho) * keras.ops.square(gradient))
        self.assign_sub(variable, learning_rate * gradient / (keras.ops.sqrt(velocity) + self.epsilon))


def tf_keras_vis_method(model, start, number, iterations, optimiser=None):
    """The package with its defaults, but without Jitter and Rotate2D, which are random. The package clips only what it returns,
    not what it climbs; here that happens after the call, so that the image is known as well."""
    losses = []

    class Losses(tf_keras_vis.activation_maximization.callbacks.Callback):
        def __call__(self, _step, _values, _gradients, scores, *_arguments, **_named):
            losses.append(float(scores[0][0]))

    maximise = ActivationMaximization(model, model_modifier=ReplaceToLinear(), clone=True)
    image = maximise(CategoricalScore(number), seed_input=start[None], input_range=None, input_modifiers=[],
                     regularizers=[TotalVariation2D(weight=1.0), Norm(weight=0.3, p=1)], steps=iterations, optimizer=optimiser,
                     callbacks=[Losses()])
    image = numpy.asarray(image)[0]
    return image, numpy.clip(image, 0, 255).astype(numpy.uint8), losses


METHODS = {
    "keras2016": keras2016,
    "keras2019": keras2019,
    "keras2019, first stage": lambda *arguments: keras2019(*arguments, stages=1),
    "keras2019, two stages": lambda *arguments: keras2019(*arguments, stages=2),
    "keras2019, two stages as commented": lambda *arguments: keras2019(*arguments, stages=2, in_place=False),
    "keras2019, as commented": lambda *arguments: keras2019(*arguments, in_place=False),
    "kerasio": kerasio,
    "tf-keras-vis": tf_keras_vis_method,
    "tf-keras-vis, epsilon outside": lambda *arguments: tf_keras_vis_method(*arguments, optimiser=EpsilonOutside(1.0, 0.999)),
}


def main():
    weights, jobs, folder = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text()), pathlib.Path(sys.argv[3])
    networks = {}
    for job in jobs:
        path = folder / f"{job['name']}.npz"
        if path.exists() and json.loads(str(numpy.load(path)["job"])) == job:
            continue
        keras.config.set_floatx(job["precision"])
        keras.config.set_dtype_policy(job["precision"])
        start = numpy.load(job["start"])
        size = start.shape if job["method"].startswith("tf-keras-vis") else (None, None, 3)
        if (size, job["precision"]) not in networks:
            networks[size, job["precision"]] = keras.applications.VGG16(include_top=False, weights=weights, input_shape=size)
        model = ExtractIntermediateLayer(job["layer"])(networks[size, job["precision"]])
        image, picture, losses, *began = METHODS[job["method"]](model, start, job["filter"], job["iterations"])
        numpy.savez(path, image=image, picture=picture, losses=losses, start=began[0] if began else start,
                    job=json.dumps(job))
        print(f"{job['name']}: {losses[0]:.4g} to {losses[-1]:.4g}", file=sys.stderr, flush=True)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__, "tf-keras-vis": tf_keras_vis.__version__}
    (folder / "versions.json").write_text(json.dumps(versions))


if __name__ == "__main__":
    main()
