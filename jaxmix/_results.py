"""What came of an iterative method: one code, whose text says what to do."""

import equinox.internal as eqxi
import numpy as np


class RESULTS(eqxi.Enumeration):
    """Outcomes; each value is a sentence that a user can act on."""

    successful = "successful: it ended by its own rule, and nothing is left to be done."
    max_steps_reached = (
        "The maximum number of steps was reached before the gain per datum fell below `tol`. "
        "Raise `max_steps` or `tol`, or accelerate."
    )
    slow = (
        "The gain per datum fell below `tol`, but so slowly that, going on so, EM would gain more "
        "than 100 times `tol` a datum, and more than a nat in all: this is not the optimum yet. "
        'Accelerate ("lbfgs"), lower `tol`, or ask for `stopping="aitken"`.'
    )
    nonfinite = (
        "The log-likelihood became NaN or infinite. Check the data for rows that are off the "
        "support of every component or so large (1e19 in float32) that their squares overflow, "
        "and the start for empty or degenerate components; where it "
        "is an average of weights, check model(z, x) at draws of the guide: for NaN, for a density "
        "that is infinite there, and for a guide that lies off the model's support."
    )
    degenerate = (
        "A component collapsed onto its variance floor: the likelihood is unbounded there and "
        "its value means nothing. Use fewer components, a stronger prior, or more restarts; of "
        "data in a unit so large that their squares are 0 (1e-18 in float32), another unit."
    )
    tolerance_below_noise = (
        "`tol` is smaller than the rounding error of the summed log-likelihood: the fit stopped "
        "where gains can no longer be told from noise. Use float64 for a finer answer."
    )
    stalled = (
        "EM could raise the objective no further while its steps were still large: the optimum is "
        "flat, or badly scaled for this precision. Use float64, a prior, or fewer components."
    )
    interrupted = (
        "The fit was interrupted; this is the best model so far. Continue from it with "
        '`init="given"`, or from its checkpoint.'
    )
    singular_information = (
        "The observed information is not positive definite: some parameter is not determined by "
        "the data (an emptied or doubled component), or the model is not at a maximum. Solve it "
        "further with `em.solve`, or use fewer components."
    )
    drifting = (
        "A parameter runs to infinity, where its family is a simpler one: a Student-t a normal, a "
        "negative binomial or Skellam a Poisson, a truncated normal an exponential or a uniform "
        "density, a regression (or a gate) one whose covariates foretell some responses for certain. "
        "The log-likelihood is that of this limit, and the parameter itself means nothing: use the "
        "simpler family, or a prior (jm.em.Ridge). em.standard_errors(...).at_boundary names it."
    )
    undefined = (
        "All the weights of one half of a row's draws are 0: the multilevel difference, and the "
        "log of an average that is 0, are undefined. Use a guide that covers the support, or a "
        "larger `base_samples`."
    )
    heavy_tailed = (
        "The tail of the importance weights is too heavy (Pareto k above 0.7): neither the value "
        "nor its standard error can be trusted. Use a wider guide."
    )
    too_few_draws = (
        "Too few draws have weight to tell how heavy the tail of the importance weights is, and "
        "so whether the value and its standard error can be trusted. Draw more."
    )


NAMES: dict[int, str] = {int(code._value): name for name, code in RESULTS._name_to_item.items()}
FAILED = ("degenerate", "nonfinite")  # names of codes after which a model means nothing


def name(result: RESULTS) -> str:
    """The name of a code."""
    return NAMES[int(np.asarray(result._value))]


def names(results: RESULTS) -> list[str]:
    """The names of a stack of codes."""
    return [NAMES[int(code)] for code in np.asarray(results._value)]


def code_of(label: str) -> RESULTS:
    """The code of a name."""
    return RESULTS._name_to_item[label]


def message(result: RESULTS) -> str:
    """The sentence of a code."""
    return RESULTS[result]
