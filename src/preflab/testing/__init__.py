"""The public conformance kit: laws that every oracle and every reward learner keeps."""

from preflab.testing.laws import LawBroken

__all__ = ["LawBroken"]
