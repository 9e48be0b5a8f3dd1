# The default runtime, with the best checkpoint kept by the mean of the sources' primary metrics in percent.
_base_ = './default_runtime.py'
default_hooks = dict(checkpoint=dict(save_best='sources/mean', rule='greater'))
