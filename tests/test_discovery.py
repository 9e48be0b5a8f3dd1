"""OpenMMLab's tools find what is here: the model index, its metafiles and configs, by the libraries' own readers."""

from pathlib import Path

import modelindex
import pytest
import yaml
from mmengine.hub import get_config
from mmengine.infer.infer import BaseInferencer
from mmpretrain.apis.model import ModelHub

import xlearner_mm

ROOT = Path(__file__).parents[1]
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())
METAFILES = {path: yaml.safe_load((ROOT / path).read_text()) for path in INDEX['Import']}
MODELS = [(path, model) for path, content in METAFILES.items() for model in content['Models']]
each_metafile = pytest.mark.parametrize('path', METAFILES, ids=lambda path: Path(path).parent.name)
each_model = pytest.mark.parametrize(('path', 'model'), MODELS, ids=[model['Name'] for _, model in MODELS])


def test_the_index_names_every_metafile():
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('metafile.yml')}
    assert found == set(INDEX['Import'])


@each_metafile
def test_a_collection_has_a_description_and_a_readme(path):
    content = METAFILES[path]
    assert set(content) == {'Collections', 'Models'}
    for collection in content['Collections']:
        assert {'Name', 'Metadata', 'Paper', 'README'} <= set(collection)
        assert collection['Paper']['Title']
        assert collection['Paper']['URL'].startswith('https://')
        assert (ROOT / collection['README']).is_file()
        assert collection['Metadata']['Architecture']


@each_metafile
def test_every_model_is_in_a_collection_of_its_metafile(path):
    collections = {collection['Name'] for collection in METAFILES[path]['Collections']}
    assert {model['In Collection'] for model in METAFILES[path]['Models']} == collections


def test_names_are_unique_and_begin_as_those_of_the_configs():
    names = [model['Name'] for _, model in MODELS]
    assert len(names) == len(set(names)) == len(MODELS)
    assert all(model['Name'].startswith(Path(model['Config']).stem) for _, model in MODELS)


@each_model
def test_a_model_has_a_config_beside_its_metafile(path, model):
    assert {'Name', 'In Collection', 'Config'} <= set(model)
    assert (ROOT / model['Config']).is_file()
    assert (ROOT / model['Config']).is_relative_to((ROOT / path).parent)


def test_the_formats_own_reader_reads_all_of_it_without_a_complaint():
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert {model.name for model in index.models} == {model['Name'] for _, model in MODELS}
    index.check(silent=True)
    # It looks for READMEs from the metafile on; OpenMMLab's, and ours, are named from the root (tested above).
    assert all('Path to README file' in str(error) for error in index.check_errors)


def test_mmengine_finds_a_config_of_the_installed_package_by_its_name():
    cfg = get_config('xlearner_mm::mini/xlearner_r18_expansion.py')
    assert cfg.model.type == 'ExpansionLearner'


def test_mmengines_inferencers_list_the_models():
    installed = Path(xlearner_mm.__file__).parent / '.mim'
    listed = BaseInferencer._get_models_from_metafile(str(installed))
    assert [model['Name'] for model in listed] == [model['Name'] for _, model in MODELS]


def test_mmpretrains_hub_registers_the_models(monkeypatch):
    monkeypatch.setattr(ModelHub, '_models_dict', {})
    monkeypatch.setattr(ModelHub, '_ModelHub__mmpretrain_registered', True)
    ModelHub.register_model_index(ROOT / 'model-index.yml', config_prefix=ROOT)
    assert ModelHub.has('xlearner_r18_squeeze')
    assert ModelHub.get('xlearner_r18_squeeze').config.model.type == 'FitNetDistiller'
