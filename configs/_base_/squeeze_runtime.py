# Hooks of every squeeze: metadata, epochs of the sources, fidelity, and similarity to the branches
squeeze_hooks = [
    dict(type='StageMetaHook'),
    dict(type='SourceEpochHook'),
    dict(type='FidelityHook'),
    dict(type='FeatureSimilarityHook'),
]
