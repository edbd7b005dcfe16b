"""The one door to pretrained models of Hugging Face's `transformers`."""

from statespan.pretrained.acceleration import Acceleration, accelerate, decelerate

__all__ = ["Acceleration", "accelerate", "decelerate"]
