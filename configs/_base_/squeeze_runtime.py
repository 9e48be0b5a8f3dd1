# What every squeeze tells of itself: what it was trained from, its sources' epochs, its fidelity and its similarity
# to the branches.
squeeze_hooks = [
    dict(type='StageMetaHook'),
    dict(type='SourceEpochHook'),
    dict(type='FidelityHook'),
    dict(type='FeatureSimilarityHook'),
]
