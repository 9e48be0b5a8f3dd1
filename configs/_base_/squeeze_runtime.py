# What every squeeze tells of itself: what it was trained from, its sources' epochs, and its fidelity to the branches.
squeeze_hooks = [
    dict(type='StageMetaHook'),
    dict(type='SourceEpochHook'),
    dict(type='FidelityHook'),
]
