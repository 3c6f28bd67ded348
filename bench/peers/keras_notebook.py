#!/usr/bin/env python3
"""The notebook's loop in TensorFlow and Keras on the CPU, as it stands there: one image, eager, batch 1.

A submodel of Keras' VGG16 from the input to the target layer, tf.GradientTape around a call of it, the mean of one filter's map,
tf.math.l2_normalize of the gradient, a step of 0.1. Prints JSON: milliseconds per iteration, the median after a warm-up. Weights
are random, of VGG16's shapes: only time is compared. usage: keras_notebook.py LAYER [ITERATIONS]
"""
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import tensorflow as tf  # noqa: E402  (after the variables above, which it reads)


def submodel_to(layer):
    model = tf.keras.applications.vgg16.VGG16(include_top=False, weights=None, input_shape=(96, 96, 3))
    if layer not in {known.name for known in model.layers}:
        raise SystemExit(f"{layer}: no such layer; expected block1_conv1 to block5_conv3")
    return tf.keras.models.Model(inputs=model.input, outputs=model.get_layer(layer).output)


def main():
    layer = sys.argv[1]
    iterations = int(sys.argv[2]) if len(sys.argv) > 2 else 25
    submodel = submodel_to(layer)
    filter_index = 1
    image = tf.random.uniform((96, 96, 3))
    seconds = []
    for _ in range(iterations + 3):
        start = time.perf_counter()
        with tf.GradientTape() as tape:
            tape.watch(image)
            activation = submodel(tf.expand_dims(image, axis=0))
            loss = tf.reduce_mean(activation[:, :, :, filter_index])
        gradient = tf.math.l2_normalize(tape.gradient(loss, image))
        image = image + 0.1 * gradient
        image.numpy()  # waits for the result
        seconds.append(time.perf_counter() - start)
    seconds = sorted(seconds[3:])
    print(json.dumps({"layer": layer, "batch": 1, "ms_per_image": round(seconds[len(seconds) // 2] * 1e3, 3),
                      "tensorflow": tf.__version__, "keras": tf.keras.__version__,
                      "threads": len(os.sched_getaffinity(0))}))


if __name__ == "__main__":
    main()
