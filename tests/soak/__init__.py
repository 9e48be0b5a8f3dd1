"""Trainings that are killed, resumed and compared with trainings that never were."""
