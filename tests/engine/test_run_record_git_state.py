import subprocess

import pytest

from xlearner_mm.engine import run_record as module
from xlearner_mm.engine.run_record import git_state


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit, and its commit."""
    root = tmp_path / 'repository'
    (root / 'package').mkdir(parents=True)
    (root / 'package' / 'code.py').write_text('a = 1\n')
    git(root, 'init', '-q')
    git(root, 'add', '.')
    git(root, '-c', 'user.name=x', '-c', 'user.email=x@y', 'commit', '-q', '-m', 'one')
    return root, git(root, 'rev-parse', 'HEAD')


def git(folder, *arguments):
    done = subprocess.run(['git', '-C', str(folder), *arguments], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def test_the_commit_of_a_clean_repository(repository):
    root, commit = repository
    assert git_state(root / 'package') == dict(
        repository=str(root), commit=commit, dirty=False, diff_sha256=None
    )  # fmt: skip


def test_changed_files_are_told_apart_by_their_difference(repository):
    root, commit = repository
    seen = []
    for text in ('a = 2\n', 'a = 3\n'):
        (root / 'package' / 'code.py').write_text(text)
        state = git_state(root)
        assert (state['commit'], state['dirty']) == (commit, True)
        seen.append(state['diff_sha256'])
    assert len(set(seen)) == 2
    assert git_state(root)['diff_sha256'] == seen[-1]


def test_outside_of_a_repository_it_says_so(tmp_path):
    assert 'not a git repository' in git_state(tmp_path)['none']


def test_without_git_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert 'git is not installed' in git_state(tmp_path)['none']


def test_a_git_that_hangs_does_not_hold_a_training_up(tmp_path, monkeypatch):
    (tmp_path / 'git').write_text('#!/bin/sh\nexec sleep 60\n')
    (tmp_path / 'git').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    monkeypatch.setattr(module, 'SECONDS', 0.5)
    assert 'git takes longer than 0.5 s' in git_state(tmp_path)['none']


def test_a_repository_without_a_commit_says_so(tmp_path):
    git(tmp_path, 'init', '-q')
    assert 'HEAD' in git_state(tmp_path)['none']
