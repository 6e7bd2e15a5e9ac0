"""What cannot be computed on secret values, why not, and what to do instead."""

from jmpc.lowering.registry import refuse

refuse(
    "pure_callback",
    "io_callback",
    "debug_callback",
    "debug_print",
    "outside_call",
    "infeed",
    "outfeed",
    reason="it hands a secret value to the host",
    instead="Reveal the value first, or remove the callback or print",
)
refuse(
    "psum",
    "psum2",
    "psum_invariant",
    "pmax",
    "pmin",
    "ppermute",
    "pbroadcast",
    "all_gather",
    "all_to_all",
    "reduce_scatter",
    "axis_index",
    "shard_map",
    "xla_pmap",
    reason="it is a collective of several devices",
    instead="Players are not devices of a mesh: write the function for whole arrays, without pmap or shard_map",
)
refuse(
    "nextafter",
    reason="it reads the bits of a floating-point number, and secret reals are fixed-point numbers",
    instead="Add the step that you mean, such as the unit of the precision, 2.0**-18, or use jnp.sign and jnp.abs",
)
refuse(
    "random_bits",
    "random_fold_in",
    "random_seed",
    "random_split",
    "random_unwrap",
    "random_wrap",
    "threefry2x32",
    "rng_bit_generator",
    "rng_uniform",
    reason="it makes random numbers from a secret",
    instead="Make them from a public key: jax.random then runs in the clear, and the numbers may meet secrets",
)
refuse(
    "ref_get",
    "ref_set",
    "get",
    "swap",
    "addupdate",
    "new_ref",
    "mutable_array",
    "freeze",
    "run_state",
    reason="it is a mutable reference",
    instead="Return the new value instead of writing it",
)
refuse(
    "ffi_call",
    "custom_call",
    "pallas_call",
    "tpu_custom_call",
    reason="it is code that is not JAX",
    instead="Write it with jax.numpy",
)
refuse(
    "eig",
    "schur",
    reason="there is no protocol for the eigenvalues of a general matrix",
    instead="Use jnp.linalg.eigh, of a symmetric matrix, or jnp.linalg.svd",
)
refuse(
    "hessenberg",
    "tridiagonal",
    reason="there is no protocol for this reduced form of a matrix",
    instead="Use jnp.linalg.eigh, svd or qr of the matrix itself",
)
refuse(
    "geqp3",
    reason="a QR decomposition with pivoting is not implemented",
    instead="Use jnp.linalg.qr, or jnp.linalg.svd, which shows the rank as well",
)
