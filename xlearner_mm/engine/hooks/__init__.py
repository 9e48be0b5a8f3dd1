"""Hooks of the runner, imported to be registered."""

from xlearner_mm.engine.hooks import (  # noqa: F401
    accumulation_hook,
    bad_image_hook,
    branch_gradient_hook,
    feature_similarity_hook,
    fidelity_hook,
    finite_loss_hook,
    hook_state_hook,
    link_strength_hook,
    loop_units_hook,
    multi_source_check_hook,
    progress_hook,
    pruning_hook,
    run_record_hook,
    source_epoch_hook,
    stage_meta_hook,
    step_seed_hook,
    validation_hook,
    whole_checkpoint_hook,
)
