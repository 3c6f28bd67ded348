"""tf-keras-vis' ActivationMaximization, set up to compute the same ascent: a batch of filters, from the given images, plain
steps of 0.1 along the gradient normalised per image, without the jitter, rotation, regularisers and clipping that it applies
by default. See peer.py.
"""
import time

import notebook  # Sets variables that TensorFlow reads when it is imported.
import numpy
import peer
import tensorflow as tf
import tf_keras_vis
from tf_keras_vis.activation_maximization import ActivationMaximization


def normalised(gradient):
    square = tf.reduce_sum(tf.square(gradient), axis=(1, 2, 3), keepdims=True)
    return gradient * tf.math.rsqrt(tf.maximum(square, peer.EPSILON))


def connect(weights, _device):
    model = notebook.load(weights)
    submodels = {name: tf.keras.models.Model(inputs=model.input, outputs=model.get_layer(name).output) for name in peer.LAYERS}

    def ascend(layer, filters, images, iterations, batch, _variant):
        maximise = ActivationMaximization(submodels[layer])

        def run(first, steps):
            chosen = filters[first:first + batch]
            images_then = maximise(lambda output: [output[i, :, :, number] for i, number in enumerate(chosen)],
                                   seed_input=images[first:first + batch], input_range=None, input_modifiers=[],
                                   regularizers=[], steps=steps, optimizer=tf.optimizers.SGD(peer.STEP),
                                   gradient_modifier=normalised)
            return numpy.asarray(images_then)  # Waits for the result.

        run(0, peer.WARM_UP)
        start = time.perf_counter()
        results = [run(first, iterations) for first in range(0, len(filters), batch)]
        seconds = time.perf_counter() - start
        losses = [notebook.compute_loss(image, submodels[layer], number)
                  for image, number in zip((image for result in results for image in result), filters)]
        return seconds, losses

    versions = {"tf-keras-vis": tf_keras_vis.__version__, "tensorflow": tf.__version__, "keras": tf.keras.__version__}
    return versions, ["eager"], ascend


if __name__ == "__main__":
    peer.serve(connect)
