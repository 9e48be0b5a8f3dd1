"""Public datasets from a local server: the layout that configs read, and downloads that stop, break or are changed."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.fixtures.classification import write_places365
from tests.fixtures.transfer_sets import TRANSFER_FIXTURES
from xlearner_mm.public_data import PUBLIC, catalog, download_sets, fetch
from xlearner_mm.public_data.catalog import Archive

CONFIGS = Path(__file__).parents[2] / 'configs'
DOWNLOADED = [name for name, own in PUBLIC.items() if own.archives]
FIXTURES = {
    **TRANSFER_FIXTURES,
    'voc2007': TRANSFER_FIXTURES['voc0712'],
    'voc2012': TRANSFER_FIXTURES['voc0712'],
    'places365': write_places365,
}


class Server:
    """Serves files by name, with ranges; can cut a connection after some bytes, and counts the bytes of each file."""

    def __init__(self):
        self.files, self.sent, self.cut_after, self.ranges = {}, {}, None, True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit('/', 1)[-1]
                if name not in server.files:
                    self.send_error(404)
                    return
                content, begin = server.files[name], 0
                if server.ranges and (asked := re.match(r'bytes=(\d+)-', self.headers.get('Range', ''))):
                    begin = int(asked[1])
                if begin and begin >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206 if begin else 200)
                self.send_header('Content-Length', str(len(content) - begin))
                self.end_headers()
                part = content[begin:][: server.cut_after]
                server.sent[name] = server.sent.get(name, 0) + len(part)
                self.wfile.write(part)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.http.server_port}/'
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    started = Server()
    yield started
    started.http.shutdown()
    started.http.server_close()


@pytest.fixture
def public(server, monkeypatch):
    """Serve an archive as a dataset of its own, with its checksum; returns its name."""

    def add(content=None, name='food-101.tar.gz', md5=None):
        server.files[name] = content = content or packed({'food-101/images/a/1.jpg': b'jpg' * 999})
        archive = Archive(server.url + name, md5 or hashlib.md5(content).hexdigest())
        monkeypatch.setitem(PUBLIC, 'food101', replace(PUBLIC['food101'], archives=lambda: [archive]))
        return 'food101'

    return add


def packed(members):
    """Return a tar archive: name -> content of its files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def files_of(root, parts):
    found = (path for part in parts for path in [root / part, *(root / part).rglob('*')] if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def below(folder, prefix=''):
    return {prefix + name: content for name, content in files_of(folder, ['.']).items()}


def archives_of(name, true):
    """Return file -> content of a dataset's archives, in the layout of the official ones."""
    own = PUBLIC[name]
    folder = true / own.folder
    files = [archive.url.rsplit('/', 1)[-1] for archive in own.archives()]
    if name == 'flowers102':
        packs = {file: (folder / file).read_bytes() for file in files if file.endswith('.mat')}
        return {**packs, '102flowers.tgz': packed(below(folder / 'jpg', 'jpg/'))}
    if name == 'caltech101':
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w') as archive:
            inner = packed(below(folder / '101_ObjectCategories', '101_ObjectCategories/'))
            archive.writestr('caltech-101/101_ObjectCategories.tar.gz', inner)
        return {'caltech-101.zip': buffer.getvalue()}
    if name == 'places365':
        lists, train, val = files
        texts = {path.name: path.read_bytes() for path in folder.glob('*.txt')}
        images = {part: below(folder / part, f'{part}/') for part in ('data_256', 'val_256')}
        return {lists: packed(texts), train: packed(images['data_256']), val: packed(images['val_256'])}
    if name == 'pets':
        return {f'{part}.tar.gz': packed(below(folder / part, f'{part}/')) for part in own.parts}
    prefix = 'VOCdevkit/' if own.folder == 'VOCdevkit' else ''
    content = {prefix + key: value for part in own.parts for key, value in below(folder / part, f'{part}/').items()}
    half = {file: dict(list(content.items())[i :: len(files)]) for i, file in enumerate(files)}
    return {file: packed(part) for file, part in half.items()}


@pytest.mark.parametrize('name', DOWNLOADED)
def test_a_dataset_has_the_layout_that_its_config_reads(name, server, tmp_path, monkeypatch, capsys):
    """The fixtures write what the configs read, which tests of the configs show."""
    true, own = tmp_path / 'true', PUBLIC[name]
    FIXTURES[name](true, 4)
    server.files = archives_of(name, true)
    served = [
        Archive(server.url + file, hashlib.md5(content).hexdigest() if archive.md5 else None)
        for archive in own.archives()
        for file, content in server.files.items()
        if archive.url.endswith('/' + file)
    ]
    assert len(served) == len(own.archives()) == len(server.files)
    monkeypatch.setitem(PUBLIC, name, replace(own, archives=lambda: served))
    assert download_sets([name], tmp_path / 'data') == 0
    found = files_of(tmp_path / 'data' / own.folder, own.parts)
    assert found == files_of(true / own.folder, own.parts)
    assert found
    assert not list((tmp_path / 'data' / fetch.KEPT).glob('*')), 'archives are deleted once they are unpacked'
    printed = capsys.readouterr().out
    assert f'{name}: written to ' in printed
    assert all(step in printed for step in own.steps)
    sent = dict(server.sent)
    assert download_sets([name], tmp_path / 'data') == 0
    assert server.sent == sent, 'a dataset that is there is not downloaded again'


@pytest.mark.parametrize('name', DOWNLOADED)
def test_addresses_and_checksums_are_those_of_the_installed_torchvision(name):
    for archive in PUBLIC[name].archives():
        assert re.fullmatch(r'https?://[\w./~-]+', archive.url)
        assert re.fullmatch('[0-9a-f]{32}', archive.md5 or '0' * 32)
    assert all(archive.md5 for archive in PUBLIC[name].archives()) or name == 'aircraft', 'torchvision has none for it'


def test_torchvision_decides_the_address(monkeypatch):
    monkeypatch.setattr(catalog.datasets.Food101, '_URL', 'https://example.org/x.tgz')
    assert PUBLIC['food101'].archives()[0].url == 'https://example.org/x.tgz'


def test_an_interrupted_download_continues_where_it_stopped(server, public, tmp_path, capsys):
    name = public()
    size = len(server.files['food-101.tar.gz'])
    server.cut_after = size // 2
    assert download_sets([name], tmp_path) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert f'food101: {server.url}food-101.tar.gz cannot be downloaded' in errors[0]
    server.cut_after = None
    assert download_sets([name], tmp_path) == 0
    assert server.sent['food-101.tar.gz'] == size, 'every byte once'
    assert (tmp_path / 'food-101/images/a/1.jpg').read_bytes() == b'jpg' * 999


def test_a_server_without_ranges_sends_it_all_again(server, public, tmp_path):
    name, server.ranges = public(), False
    server.cut_after = 50
    assert download_sets([name], tmp_path) == 1
    server.cut_after = None
    assert download_sets([name], tmp_path) == 0


def test_a_damaged_file_is_named_and_downloaded_anew(server, public, tmp_path, capsys):
    name = public()
    good = server.files['food-101.tar.gz']
    server.files['food-101.tar.gz'] = good[:-9] + bytes(9)
    assert download_sets([name], tmp_path) == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert hashlib.md5(server.files['food-101.tar.gz']).hexdigest() in error
    assert hashlib.md5(good).hexdigest() in error
    server.files['food-101.tar.gz'] = good
    assert download_sets([name], tmp_path) == 0


def test_an_archive_without_a_checksum_that_cannot_be_unpacked_is_downloaded_anew(
    server, tmp_path, monkeypatch, capsys
):
    good = packed({'fgvc-aircraft-2013b/data/variants.txt': b'x' * 9999})
    own = replace(PUBLIC['aircraft'], archives=lambda: [Archive(f'{server.url}a.tar.gz', None)])
    monkeypatch.setitem(PUBLIC, 'aircraft', own)
    server.files['a.tar.gz'] = good[:40]
    assert download_sets(['aircraft'], tmp_path) == 1
    assert re.search(r'error: aircraft: .*a\.tar\.gz is damaged', capsys.readouterr().err)
    server.files['a.tar.gz'] = good
    assert download_sets(['aircraft'], tmp_path) == 0


def test_an_interrupted_unpacking_is_no_dataset(public, tmp_path):
    name = public()
    (tmp_path / fetch.KEPT / name / 'unpacked/food-101').mkdir(parents=True)
    assert download_sets([name], tmp_path) == 0
    assert (tmp_path / 'food-101/images/a/1.jpg').is_file()


def test_an_archive_of_another_layout_changes_nothing(public, tmp_path, capsys):
    name = public(packed({'elsewhere/1.jpg': b'x'}))
    assert download_sets([name], tmp_path) == 1
    assert "hold no ['food-101'], but ['elsewhere']" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {fetch.KEPT}


def test_nothing_is_unpacked_outside_its_folder(public, tmp_path, capsys):
    name = public(packed({'../../../outside.txt': b'x', 'food-101/a': b'x'}))
    assert download_sets([name], tmp_path / 'data') == 1
    assert 'is damaged' in capsys.readouterr().err
    assert not list(tmp_path.rglob('outside.txt'))


def test_a_full_disk_is_said_before_the_download(server, public, tmp_path, monkeypatch, capsys):
    name = public()
    monkeypatch.setattr(fetch.shutil, 'disk_usage', lambda path: type('Usage', (), {'free': 10}))
    assert download_sets([name], tmp_path) == 1
    assert 'GB free' in capsys.readouterr().err


def test_other_datasets_have_their_official_page_and_steps(run_tool, tmp_path):
    status, output, _ = run_tool('download_data.py', 'imagenet1k', '--data', tmp_path)
    assert status == 0
    assert 'https://image-net.org/' in output
    assert 'Register' in output
    assert f'{tmp_path}/imagenet' in output
    for part in PUBLIC['imagenet1k'].parts:
        (tmp_path / 'imagenet' / part).mkdir(parents=True)
    assert (
        run_tool('download_data.py', 'imagenet1k', '--data', tmp_path)[1]
        == f'imagenet1k: ready in {tmp_path}/imagenet\n'
    )


def test_the_list_says_what_is_there(run_tool, tmp_path):
    (tmp_path / 'dtd').mkdir()
    status, output, _ = run_tool('download_data.py', '--list', '--data', tmp_path)
    rows = {line.split()[0]: line.split()[1] for line in output.splitlines()}
    assert status == 0
    assert list(rows) == list(PUBLIC)
    assert (rows['dtd'], rows['pets'], rows['coco']) == ('ready', 'download', 'by')


def test_the_list_says_what_is_left_to_do(run_tool, tmp_path):
    def state(name):
        rows = run_tool('download_data.py', '--list', '--data', tmp_path)[1].splitlines()
        return next(row for row in rows if row.startswith(f'{name} '))[15:25].strip()

    (tmp_path / 'VOCdevkit/VOC2007/ImageSets/Main').mkdir(parents=True)
    assert state('voc2007') == 'download', 'trainval alone has no test part'
    (tmp_path / 'VOCdevkit/VOC2007/ImageSets/Main/test.txt').touch()
    assert state('voc2007') == 'ready'
    for name, images, added in (('sun397', 'SUN397/SUN397', 'Partitions'), ('caltech101', 'caltech-101', 'meta')):
        (tmp_path / images).mkdir(parents=True)
        (tmp_path / PUBLIC[name].folder / PUBLIC[name].parts[0]).mkdir(exist_ok=True)
        assert state(name) == 'steps left'
        (tmp_path / PUBLIC[name].folder / added).mkdir()
        assert state(name) == 'ready'


def test_an_interruption_ends_in_its_status(run_tool, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('xlearner_mm.public_data.download_sets', interrupted)
    assert run_tool('download_data.py', 'pets') == (130, '', '')


def test_unknown_names_and_none(run_tool):
    status, _, errors = run_tool('download_data.py', 'pet')
    assert (status, errors.count('\n')) == (1, 1)
    assert "'pet'; did you mean 'pets'" in errors
    assert run_tool('download_data.py')[0] == 2


def test_every_folder_that_a_config_reads_is_that_of_a_dataset():
    configs = [*(CONFIGS / '_base_/sources').glob('[!mp]*.py'), *(CONFIGS / 'transfer').glob('[!b]*/*.py')]
    configs.append(CONFIGS / '_base_/sources/places365.py')
    folders = [Path('data') / own.folder / part for own in PUBLIC.values() for part in ('', *own.parts)]
    for config in configs:
        roots = set(re.findall(r"'data_root': '(data/[^']+)'", str(Config.fromfile(config).to_dict())))
        assert roots, config
        for root in roots:
            assert Path(root) in folders or any(Path(root) in folder.parents for folder in folders), (config.name, root)
