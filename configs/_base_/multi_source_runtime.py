# The default runtime; keeps the checkpoint with the best mean of the sources' primary metrics, and logs to TensorBoard
#   tensorboard --logdir work_dirs
_base_ = './default_runtime.py'
default_hooks = dict(checkpoint=dict(save_best='sources/mean', rule='greater'))
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
