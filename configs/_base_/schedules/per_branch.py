# Every branch is optimized as if trained alone: its gradients are clipped separately, and it may have its own optimizer,
# as in `optim_wrapper = dict(det=dict(optimizer=dict(lr=0.02)))`. Without branches, the model is optimized as a whole.
optim_wrapper = dict(type='OptimWrapper', constructor='PerBranchOptimWrapperConstructor')
