"""Train one of the benchmark's nets with Keras' `fit`, and print its speed as JSON.

python experiments/baselines/keras_baseline.py conv [--images N] [--rounds N]
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers


def dense(*widths: int) -> keras.Model:
    hidden = [layers.Dense(width, activation="relu") for width in widths]
    return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(784, activation="sigmoid")])


def conv(features: int, padding: str = "same") -> layers.Layer:
    return layers.Conv2D(features, 3, activation="relu", padding=padding)


def images(*hidden: layers.Layer) -> keras.Model:
    output = layers.Conv2D(1, 3, activation="sigmoid", padding="same")
    return keras.Sequential([keras.Input((28, 28, 1)), *hidden, output])


def down() -> layers.Layer:
    return layers.MaxPooling2D(2, padding="same")


def up() -> layers.Layer:
    return layers.UpSampling2D(2)


def recurrent() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.LSTM(100, return_sequences=True),
            layers.LSTM(30),
            layers.RepeatVector(28),
            layers.LSTM(100, return_sequences=True),
            layers.TimeDistributed(layers.Dense(28, activation="sigmoid")),
        ]
    )


NETS = {
    "simple": lambda: dense(32),
    "deep": lambda: dense(128, 64, 32, 64, 128),
    "hinton": lambda: dense(1000, 500, 250, 30, 250, 500, 1000),
    "conv": lambda: images(
        conv(16),
        down(),
        conv(8),
        down(),
        conv(8),
        down(),
        conv(8),
        up(),
        conv(8),
        up(),
        conv(16, "valid"),
        up(),
    ),
    "conv256": lambda: images(
        conv(64), down(), conv(128), down(), conv(256), conv(128), up(), conv(64), up()
    ),
    "lstm": recurrent,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--data", help="uint8 images, [N, 28, 28, 1]; by default random ones")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = NETS[options.net]()
    shape = (options.images, *model.input_shape[1:])
    if options.data:
        x = np.load(options.data, allow_pickle=False)[: options.images]
        x = x.reshape(shape).astype(np.float32) / 255
    else:
        x = np.random.default_rng(0).random(shape, np.float32)
    model.compile(optimizer="adam", loss="binary_crossentropy", jit_compile="auto")

    def epoch() -> float:
        began = time.perf_counter()
        model.fit(x, x, epochs=1, batch_size=options.batch, verbose=0)
        return time.perf_counter() - began

    first = epoch()
    speeds = [options.images / epoch() for _ in range(options.rounds)]
    result = {"images_per_second": round(statistics.median(speeds))}
    result |= {"epochs": [round(speed) for speed in speeds]}
    result |= {"first_epoch_seconds": round(first, 2)}
    print(json.dumps({**result, "version": f"{keras.__version__} on {keras.backend.backend()}"}))


if __name__ == "__main__":
    main()
