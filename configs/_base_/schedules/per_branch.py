# Every branch is optimized as if it were trained alone: its gradients are clipped by themselves, and it may have an
# optimizer of its own, as in `optim_wrapper = dict(det=dict(optimizer=dict(lr=0.02)))`. A squeeze's one student is
# optimized as a whole, and so is a hard-sharing's one branch.
optim_wrapper = dict(type='OptimWrapper', constructor='PerBranchOptimWrapperConstructor')
