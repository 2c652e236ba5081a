"""SplitPlace: split CNNs by layer or by meaning, ship the fragments, place them on edge devices by deadline."""

from importlib.metadata import version

__version__ = version("splitplace")
