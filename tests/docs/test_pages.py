"""Tools, options, configs, links and Python blocks of the pages exist and are valid."""

import ast
import functools
import inspect
import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, commands
from xlearner_mm import doctor

# Their blocks are executed by tests of this folder, tests/test_readme.py and, of concepts.md and pretrain.md, those of
# the topic.
EXECUTED = [
    'README.md',
    'docs/clusters.md',
    'docs/concepts.md',
    'docs/extending.md',
    'docs/folders.md',
    'docs/foundation_teachers.md',
    'docs/get_started.md',
    'docs/own_source.md',
    'docs/own_task.md',
    'docs/pretrain.md',
    'docs/transfer.md',
    'configs/README.md',
]
TOOL = re.compile(r'(?:tools/[\w/]+\.(?:py|sh))')


@functools.cache
def help_of(tool):
    # A folder on the way that shadows no installed package.
    done = subprocess.run([sys.executable, tool, '--help'], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def options_of(tool):
    tool = {'tools/dist_train.sh': 'tools/train.py', 'tools/slurm_train.sh': 'tools/train.py'}.get(tool, tool)
    return set(re.findall(r'--[\w-]+', help_of(tool)))


@pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tools_that_a_page_names_exist(page):
    for tool in TOOL.findall(page.read_text()):
        assert (ROOT / tool).is_file(), tool


def test_options_of_commands_exist():
    seen = 0
    for page, command in commands():
        words = shlex.split(command)
        tools = [word for word in words if TOOL.fullmatch(word)]
        if not tools:
            continue
        given = [word.partition('=')[0] for word in words[words.index(tools[0]) :] if word.startswith('--')]
        for option in given:
            assert option in options_of(tools[0]), f'{page.name}: {command}'
        seen += len(given)
    assert seen > 20, 'the commands were found'


def test_configs_of_commands_exist():
    written = {block.title for block in blocks('python')}
    for page, command in commands():
        for word in command.split():
            if word.endswith('.py') and not word.startswith('tools/'):
                assert word in written or (ROOT / word).is_file(), f'{page.name}: {command}'


def test_options_in_running_text_exist():
    known = set().union(*(options_of(str(path.relative_to(ROOT))) for path in (ROOT / 'tools').glob('*.py')))
    for page in PAGES:
        for option in re.findall(r'`(--[a-z][\w-]*)', page.read_text()):
            assert option in known, f'{page.name}: {option}'


def anchors_of(page):
    headings = re.findall(r'^#+ (.*)$', re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r'[^\w -]', '', heading.lower()).strip().replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', [*PAGES, ROOT / 'CHANGELOG.md'], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    for target in re.findall(r'\]\(([^()\s]+)\)', text):
        if target.startswith('http'):
            continue
        path, _, anchor = target.partition('#')
        led_to = (page.parent / path).resolve() if path else page
        assert led_to.exists(), target
        assert led_to.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors_of(led_to), target


@pytest.mark.parametrize('block', blocks('python'), ids=str)
def test_python_is_read_and_executed_somewhere(block):
    assert block.page.relative_to(ROOT).as_posix() in EXECUTED, 'name the page here, and execute its blocks in a test'
    if '>>>' not in block.text:
        compile(block.text, str(block), 'exec')


def test_files_named_in_running_text_exist():
    for page in PAGES:
        text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
        for path in re.findall(r'`((?:configs|docs|tests|xlearner_mm)/[\w./]+\.(?:py|md|png|yml))', text):
            assert os.path.exists(ROOT / path), f'{page.name}: {path}'


def test_troubleshooting_lists_all_doctor_messages():
    page = (ROOT / 'docs/troubleshooting.md').read_text()
    returned = [node for node in ast.walk(ast.parse(inspect.getsource(doctor.examine))) if isinstance(node, ast.Return)]
    said = [part.value for node in returned for part in ast.walk(node) if isinstance(part, ast.Constant)]
    said += [reason for check in doctor.CHECKS.values() for reason in re.findall(r"exit\('([^']+)", check.code)]
    reasons = [part.strip() for part in said if len(str(part)) > 12]
    assert len(reasons) >= 6
    for reason in reasons:
        assert reason in page, reason
