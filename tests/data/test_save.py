"""Models in files of equinox and of safetensors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm


def models():
    pair = jax.vmap(jm.MultivariateNormal)(jnp.zeros((2, 3)), jnp.stack([jnp.eye(3)] * 2))
    record = jm.Composite(
        {"kind": jm.Categorical(jnp.array([0.2, 0.8]), labels=("x", "y")), "size": jm.Normal(1, 2)}
    )
    return [
        jm.MixtureSameFamily(jnp.array([0.25, 0.75]), pair),
        jm.gaussian_mixture(2, 3, "tied"),
        jm.Mixture(jnp.ones(2) / 2, [record, jm.frozen(record)]),
        jm.mixture_of(jm.PartialDiagonalNormal.template(2), 2),
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", ["model.safetensors", "model.npz"])
def test_round_trips(number, name, tmp_path):
    pytest.importorskip("safetensors")
    model = models()[number]
    jm.save(tmp_path / name, model)
    loaded = jm.load(tmp_path / name)
    assert eqx.tree_equal(model, loaded)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("number", range(4))
def test_equinox_leaves_round_trip(number, tmp_path):
    model = models()[number]
    eqx.tree_serialise_leaves(tmp_path / "model.eqx", model)
    like = jax.tree.map(jnp.zeros_like, model)
    assert eqx.tree_equal(eqx.tree_deserialise_leaves(tmp_path / "model.eqx", like), model)


def test_other_files_get_a_sentence(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "other.safetensors"
    library.save_file({"w": np.zeros(2)}, path)
    with pytest.raises(ValueError, match="no model that"):
        jm.load(path)
    path.write_bytes(b"text, not tensors")
    with pytest.raises(ValueError, match="no model that"):
        jm.load(path)
