# The default runtime, with the best checkpoint kept by the mean of the sources' primary metrics in percent, and all that is
# logged in TensorBoard too: tensorboard --logdir work_dirs
_base_ = './default_runtime.py'
default_hooks = dict(checkpoint=dict(save_best='sources/mean', rule='greater'))
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
