"""Heads: from pooled hidden states to objective weights (1), semantic features (2) and what (3) and (5) need.

Each head is one class in a file of its own. To add one, write `NAME.py` with a subclass of `JudgmentHead`, and give its
name and its class one line in `vrm.choices.HEADS`; a program of yours can register one instead (`register_head` in
`registry`). The class states what the head can do. Other code asks for that through the configuration
(`VRMConfig.has_weight_uncertainty`, ...) and never compares names.

`JudgmentHead` is the plainest head; override what differs, of these methods for example. Extend `reset_parameters` by
every parameter that you add: it begins a new head, and fills what a file lacks. Loading builds a head on the meta
device, where the values of `__init__` are lost. What is in the state dict comes from the file, so a parameter that only
`__init__` has set survives. A tensor outside the state dict (a plain attribute, or a buffer with `persistent=False`)
does not, so keep none.
    feature_network    from a completion to its features: a linear layer, or a sequence that ends with one
    objective_weights  for several objectives; also state `models_objectives`
    rating_model       for ratings that train their own slope, offset and scale: the base's stay at 1, 0 and 1
    fit_inputs         for networks whose inputs are to be standardized too
`ObjectivesHead` has the last three, by a network that reads the prompt; of it override `weights_from` alone.

`is_scalar` says that the one feature is the reward, with A fixed to 1. It also promises that the reward is what the
last linear layer of `features` gives, up to a constant, because `vrm certify` takes that layer's weights for A. A
scalar head that overrides `semantic_features`, with a `tanh` at the end or a second network beside the first, breaks
the promise. It has to override `with_linear_end` too; `return self(prompt_features, completion_features)` is always
right and says that nothing of the end is linear. `vrm certify` compares both on its rows, and refuses a head for which
they differ.
"""
