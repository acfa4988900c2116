"""What a density, or a source of data, may offer beyond what it must, by having these attributes.

A density of whatever base:

- `joint_log_probs(x)` (k,): of a mixture, the log-density of one event with each label, in nats;
  `posterior(x)` (k,): its own way to the probability of each label given the event;
  `log_parts(x)`: log-weights and log-densities of the event apart, (k,) each.
- `rows_log_prob(rows)` (rows,): of events stacked along a leading axis, which it lays out by itself.
- `outcome_log_probs(size)`: of a law of labels, log-probabilities of 0, ..., size - 1 at once.
- `items_log_prob(items, used)` (rows,): sums over the `used` (t, rows) items of each row, of items
  (t * rows, ...), by a density of an item that adds these up before they meet its parameters.
- `split(event, field)`: the log-density of the other fields of a record or coordinates of a vector,
  and the density of this one given them; `marginal(field)`: its density by itself;
  `observed_log_prob(event)`: of a vector's coordinates beside those that are missing (NaN);
  `nan_is_missing`: True where such a coordinate is a missing one.
- `check_rows(rows)`: refuses rows (arrays of NumPy) of which no fit would come, by a ValueError. A
  regression also takes the names of its covariates.
- `domain`: a `jm.Domain`, where its events lie.

A source of data that do not fit in memory: `batches()`, trees of arrays with a leading axis, all
rows in turn; and, where it can give rows by number, `num_rows` and `take(index)`.
"""

from typing import Any, TypeGuard


def offers(thing: Any, *hooks: str) -> TypeGuard[Any]:
    """Whether it has these; what a wrapper (`jm.frozen`, `jm.tie`) passes on counts as its own."""
    return all(getattr(thing, hook, None) is not None for hook in hooks)
