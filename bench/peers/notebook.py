"""The notebook's loop in TensorFlow and Keras, unchanged: eager, one filter and one image at a time.

A submodel of Keras' VGG16 from the input to the target layer, tf.GradientTape around a call of it, the mean of one filter's
map, tf.math.l2_normalize of the gradient, a step of 0.1. See peer.py.
"""
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # Otherwise it takes the memory that the others need.
if sys.argv[2] == "cpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import tensorflow as tf  # noqa: E402  (after the variables above, which it reads)

import peer  # noqa: E402


def load(weights):
    model = tf.keras.applications.vgg16.VGG16(include_top=False, weights=None, input_shape=(96, 96, 3))
    for name, (kernel, bias) in zip(peer.LAYERS, weights):
        model.get_layer(name).set_weights([kernel.transpose(2, 3, 1, 0), bias])
    return model


def compute_loss(image, submodel, filter_index):
    activation = submodel(tf.expand_dims(image, axis=0))
    return tf.reduce_mean(activation[:, :, :, filter_index])


def visualize(image, submodel, filter_index, iterations):
    for _ in range(iterations):
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = compute_loss(image, submodel, filter_index)
        gradients = tape.gradient(loss, image)
        gradients = tf.math.l2_normalize(gradients)
        image += gradients * peer.STEP
    return image


def connect(weights, device):
    if device == "cuda" and not tf.config.list_physical_devices("GPU"):
        sys.exit("TensorFlow sees no GPU")
    model = load(weights)
    submodels = {name: tf.keras.models.Model(inputs=model.input, outputs=model.get_layer(name).output) for name in peer.LAYERS}

    def ascend(layer, filters, images, iterations, _batch, _variant):
        submodel = submodels[layer]
        images = [tf.constant(image) for image in images]
        visualize(images[0], submodel, filters[0], peer.WARM_UP).numpy()  # Waits for the result.
        start = time.perf_counter()
        for index, filter_index in enumerate(filters):
            images[index] = visualize(images[index], submodel, filter_index, iterations)
        for image in images:
            image.numpy()
        seconds = time.perf_counter() - start
        return seconds, [compute_loss(image, submodel, filter_index) for image, filter_index in zip(images, filters)]

    return {"tensorflow": tf.__version__, "keras": tf.keras.__version__}, ["eager"], ascend


if __name__ == "__main__":
    peer.serve(connect)
