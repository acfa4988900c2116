"""Mixtures over the columns of any table, with scikit-learn's interface."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arguments import real, whole
from .._results import message, name
from .._trees import num_rows, take
from .._warn import warn
from ..combinators import Composite, mixture_of
from ..data import decode, encode, infer_template
from ..data.structure import domain_of, structure
from ..data.tables import column_names, is_table
from ..em import fit as fit_mixture
from ..em.search.padding import rows_under
from ..families import PartialDiagonalNormal
from ._base import SMALLEST, MissingAllowed, MixtureAnswers, checked_weights, precision


@dataclasses.dataclass(eq=False, repr=False)
class RecordMixture(MixtureAnswers, MissingAllowed):
    """Mixture over the columns of a table: numbers, counts, labels, sequences, missing values.

    Each component is a record of independent columns, each of its own family; `fit` chooses the
    families with `jm.infer_template`, unless a template is given. The columns of a plain array
    are normal. Missing values (None or NaN) are allowed.

    Args:
        n_components: number of components.
        template: a density of one row, such as `jm.Composite({"age": jm.Normal.template()})`, of
            which there will be `n_components`; None to infer one.
        ignore: names of columns to leave out of an inferred template.
        tol: stop at a gain below this, in nats a row.
        max_iter: at most so many steps a start.
        n_init: number of starts, run side by side.
        random_state: seed, `numpy.random.RandomState` or None.

    Attributes:
        model_: the fitted `jm.MixtureSameFamily`.
        template_: the density of one row that was used.
        choices_: what `jm.infer_template` chose for each column, and why; None otherwise.
        weights_: (k,).
        converged_: whether the best start met `tol`.
        n_iter_: its number of steps.
        lower_bound_: mean log-likelihood of the rows, in nats.
        result_: a name of `jm.RESULTS`, such as "successful" or "degenerate".
        n_features_in_: number of columns seen in `fit`.
        feature_names_in_: their names, where they have some.

    Example:
        >>> import pandas as pd
        >>> from jaxmix.sklearn import RecordMixture
        >>> table = pd.DataFrame({"kind": ["a", "b"] * 20, "size": [1.5, 9.5, 2.5, 8.5] * 10})
        >>> mixture = RecordMixture(2, random_state=0, n_init=4).fit(table)
        >>> labels = mixture.predict(table)
        >>> bool(labels[0] == labels[2] != labels[1] == labels[3])
        True
    """

    n_components: int = 1
    _: dataclasses.KW_ONLY
    template: Any = None
    ignore: Sequence[str] = ()
    tol: float = 1e-6
    max_iter: int = 1000
    n_init: int = 16
    random_state: Any = None

    def fit(self, X, y=None, sample_weight=None):
        """Fit to a table (pandas, polars, Arrow, a dict of columns) or an array (n, d).

        Raises:
            ValueError: for rows that the template cannot hold, naming row, field and value.
        """
        whole(1)(self.n_components, "n_components")
        whole(1)(self.max_iter, "max_iter")
        whole(1)(self.n_init, "n_init")
        real(0, ends=True)(self.tol, "tol")
        table = self._table(X, fitting=True)
        self.template_, self.choices_ = self._template_for(table)
        key = check_random_state(self.random_state).randint(2**31 - 1)
        self._dtype = np.float32 if getattr(table, "dtype", None) == np.float32 else np.float64
        with precision(self._dtype):
            events, rows = self._events(table)
            weights = checked_weights(sample_weight, rows, self._dtype)
            found = fit_mixture(
                jax.random.key(int(key)), mixture_of(self.template_, int(self.n_components)), events,
                weights=None if weights is None else jnp.asarray(weights), num_restarts=int(self.n_init),
                max_steps=int(self.max_iter), tol=float(self.tol), progress=False,
            )  # fmt: skip
            self._arrays = jax.tree.map(np.asarray, found.model)
            self.weights_ = np.asarray(found.model.weights)
        self.result_ = name(found.result)
        self.converged_ = self.result_ in ("successful", "tolerance_below_noise", "drifting")
        self.n_iter_ = max(1, found.num_steps)
        self.lower_bound_ = float(found.log_likelihood) / found.num_data
        if not self.converged_:
            warn(message(found.result), ConvergenceWarning)
        return self

    def _table(self, X: Any, *, fitting: bool = False) -> Any:
        """X as an array, or as the table it is, its columns those of the fit."""
        if issparse(X) or not is_table(X):  # one sparse format is a dict
            return self._rows(X, fitting=fitting, least=2 if fitting else 1)
        if not fitting:
            check_is_fitted(self)
        if isinstance(X, dict):
            names = column_names(X) or []
            if fitting:
                self.n_features_in_ = len(names)
                self.feature_names_in_ = np.asarray(names, object)
            return X
        validate_data(self, X, reset=fitting, skip_check_array=True)
        return X

    def _template_for(self, table: Any) -> tuple[PyTree, list | None]:
        if self.template is not None:
            return self.template, None
        if isinstance(table, np.ndarray):
            return PartialDiagonalNormal.template(table.shape[1]), None
        found = infer_template(table, ignore=tuple(self.ignore))
        return found.template, found.choices

    def _events(self, table: Any) -> tuple[PyTree, int]:
        """Events of the template, and how many there are."""
        if isinstance(table, np.ndarray) and isinstance(self.template_, Composite):
            table = {field: table[:, i] for i, (field, _) in enumerate(self.template_.items())}
        elif isinstance(table, np.ndarray) and domain_of(structure(self.template_)).dim is None:
            table = table[:, 0] if table.shape[1] == 1 else table  # one column of numbers
        events = encode(self.template_, table)
        return events, num_rows(events)

    @property
    def model_(self) -> PyTree:
        """The fitted mixture, in the precision now in force."""
        check_is_fitted(self)
        real = lambda a: jnp.issubdtype(a.dtype, jnp.inexact)
        return jax.tree.map(
            lambda a: jnp.asarray(a, jnp.result_type(float) if real(a) else a.dtype), self._arrays
        )

    def _joint(self, X) -> np.ndarray:
        table = self._table(X)
        with precision(self._dtype):
            return rows_under(self.model_, self._events(table)[0], "joint_log_probs", SMALLEST)

    def impute(self, X) -> Any:
        """The table with its missing values filled in by their conditional means (or labels).

        A pandas table gives a pandas table of the template's columns; other input a dict.
        """
        table = self._table(X)
        if not isinstance(self.template_, Composite):
            raise ValueError("Only a template that is a Composite of columns can be filled in.")
        with precision(self._dtype):
            events, _ = self._events(table)
            fill = jax.jit(jax.vmap(lambda model, x: model.impute(x), in_axes=(None, 0)))
            whole = fill(self.model_, events)
            plain = Composite({f: getattr(d, "value", d) for f, d in self.template_.items()})
            columns = decode(plain, whole, columns=True)
        return _like(X, columns)

    def sample(self, n_samples=1):
        """Draw rows: a pandas table where pandas is there and the rows have columns, else a list.

        Returns:
            Rows, and the component of each (n_samples,).
        """
        check_is_fitted(self)
        whole(1)(n_samples, "n_samples")
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        with precision(self._dtype):
            model = self.model_
            k_which, k_rows = jax.random.split(jax.random.key(int(seed)))
            odds = jnp.asarray(self.weights_)
            which = jax.random.choice(k_which, self.n_components, (n_samples,), p=odds)
            parts, keys = take(model.components, which), jax.random.split(k_rows, n_samples)
            events = jax.vmap(lambda part, key: part.sample(key))(parts, keys)
            if not isinstance(self.template_, Composite):
                return decode(self.template_, events), np.asarray(which)
            return _like(None, decode(self.template_, events, columns=True)), np.asarray(which)


def _like(table: Any, columns: dict) -> Any:
    """Columns as a pandas table, with the rows' names of the one given."""
    if type(table).__module__.partition(".")[0] not in ("pandas", "builtins"):
        return columns
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return columns
    return pd.DataFrame(columns, index=getattr(table, "index", None))
