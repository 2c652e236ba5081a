"""A network of one's own, to be named `my_net:Net`."""

from torch import nn


class Net(nn.Sequential):
    """Three convolutions and a linear layer; made with the number of classes and channels it is to have."""

    def __init__(self, num_classes: int, in_chans: int):
        super().__init__(
            *(nn.Conv2d(in_chans, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes)),
        )
