"""Files around the code say the same as the code."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding='utf-8'))


def recipe_of(target):
    """Return the commands of a target of the Makefile."""
    lines = re.search(rf'^{target}:.*\n((?:\t.*\n)+)', (ROOT / 'Makefile').read_text(), re.MULTILINE)[1]
    return [line.strip().replace('$(VENV)', '.venv/bin') for line in lines.splitlines()]


def test_commit_hooks_are_what_make_lint_runs():
    hooks = [hook for repository in read('.pre-commit-config.yaml')['repos'] for hook in repository['hooks']]
    assert [hook['entry'] for hook in hooks] == recipe_of('lint')
    assert all(hook['language'] == 'system' and not hook['pass_filenames'] for hook in hooks)


def test_continuous_integration_runs_make_test_on_the_supported_versions_of_python():
    (job,) = read('.github/workflows/test.yml')['jobs'].values()
    commands = [step['run'] for step in job['steps'] if 'run' in step]
    assert commands[-1].startswith('make test ')
    supported = re.findall(r'Python :: (3\.\d+)', (ROOT / 'setup.py').read_text())
    assert job['strategy']['matrix']['python'] == supported


def test_the_citation_is_that_of_the_readme():
    citation, readme = read('CITATION.cff'), (ROOT / 'README.md').read_text()
    paper = citation['preferred-citation']
    authors = ' and '.join(f'{author["family-names"]}, {author["given-names"]}' for author in paper['authors'])
    entry = ' '.join(re.search(r'```bibtex\n(.*?)```', readme, re.DOTALL)[1].split())
    for fact in (paper['title'], authors, str(paper['year']), paper['collection-title']):
        assert f'{{{fact}}}' in entry
    assert paper['url'] in readme
    assert citation['license'] in (ROOT / 'setup.py').read_text()


@pytest.mark.parametrize('form', ['bug', 'feature'])
def test_issue_forms_name_existing_files_and_commands(form):
    text = (ROOT / f'.github/ISSUE_TEMPLATE/{form}.yml').read_text()
    named = re.findall(r'\b((?:docs|tools)/\w+\.\w+|[A-Z]+\.md)', text)
    assert named
    assert all((ROOT / name).is_file() for name in named)
