"""TensorFlow Probability's distributions (its JAX substrate) as densities."""

from typing import Any

from tensorflow_probability.substrates.jax import distributions as tfd

from ._foreign import Bijection, Library

SETTINGS = ("name", "validate_args", "allow_nan_stats")


class TFP(Library):
    base = tfd.Distribution
    entry = "from_tfp takes a distribution of tensorflow_probability.substrates.jax"

    @staticmethod
    def arguments(distribution: Any) -> dict[str, Any]:
        given = {n: v for n, v in distribution.parameters.items() if n not in SETTINGS}
        # As the distribution holds them: arrays of its dtype rather than the user's numbers.
        held = {n: getattr(distribution, n, v) for n, v in given.items() if v is not None}
        return {n: given[n] if callable(v) else v for n, v in held.items()}

    @staticmethod
    def bijection(kind, name, value) -> Bijection | None:
        properties = kind.parameter_properties(dtype=value.dtype).get(name)
        if properties is None or not properties.is_preferred:
            return None
        try:
            bijector = properties.default_constraining_bijector_fn()
        except NotImplementedError:
            return None
        return Bijection(bijector.forward, bijector.inverse)

    @staticmethod
    def sample(distribution, key):
        return distribution.sample(seed=key)

    @staticmethod
    def reparametrised(distribution) -> bool:
        return distribution.reparameterization_type == tfd.FULLY_REPARAMETERIZED
