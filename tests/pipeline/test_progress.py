import pytest

from xlearner_mm.pipeline.progress import Estimator, read_eta, read_fraction


@pytest.fixture
def log(tmp_path):
    return tmp_path / 'job.log'


class TestFraction:
    @pytest.mark.parametrize(
        ('line', 'fraction'),
        [
            ('11/24 - mmengine - INFO - Iter(train) [ 50/400]  lr: 1e-3  eta: 0:03:52', 0.125),
            ('11/24 - mmengine - INFO - Epoch(train)  [2][ 10/40]  lr: 1e-3', None),
            ('  50.4 s  [2/8] shapes (source, cls): written', 0.25),
            ('Iter(val) [1/6]', None),
            ('loading annotations', None),
        ],
    )
    def test_reads_what_tools_print(self, log, line, fraction):
        log.write_text(line + '\n')
        assert read_fraction(log) == fraction

    def test_validation_does_not_move_it_back(self, log):
        log.write_text('Iter(train) [400/400] lr: 0\nIter(val) [1/6]\n')
        assert read_fraction(log) == 1.0

    def test_a_long_validation_does_not_hide_it(self, log):
        log.write_text('Iter(train) [300/400]\n' + ''.join(f'Iter(val) [{i}/150]\n' for i in range(150)))
        assert read_fraction(log) == 0.75

    def test_no_log_is_no_progress(self, log):
        assert read_fraction(log) is None
        assert read_eta(log) is None


@pytest.mark.parametrize(
    ('eta', 'seconds'), [('0:03:52', 232), ('1 day, 2:00:01', 93601), ('11 days, 0:00:00', 11 * 86400)]
)
def test_a_training_by_epochs_tells_the_time_it_has_left(log, eta, seconds):
    log.write_text(
        f'11/24 - mmengine - INFO - Epoch(train)  [2][ 10/40]  lr: 1e-3  eta: {eta}  time: 0.1\n'
        'Epoch(val) [2][10/50]  eta: 0:00:09\n'
    )
    assert read_fraction(log) is None
    assert read_eta(log) == seconds


class TestEstimator:
    def test_trusts_the_estimates_at_first(self):
        assert Estimator({'a': 50}).whole('a') == 50

    def test_corrects_them_by_what_was_measured(self):
        estimator = Estimator({'a': 6000, 'b': 100})
        estimator.learn('a', 12000)
        assert estimator.whole('b') == pytest.approx(200, rel=0.02)

    def test_one_short_job_does_not_decide(self):
        estimator = Estimator({'a': 1, 'b': 100})
        estimator.learn('a', 20)
        assert estimator.whole('b') < 150

    def test_a_job_that_found_its_work_done_says_nothing(self):
        estimator = Estimator({'a': 60, 'b': 100})
        estimator.learn('a', 0.2)
        assert estimator.whole('b') == 100

    def test_measures_the_speed_of_the_iterations_not_of_the_start(self):
        estimator = Estimator({'a': 1000})
        estimator.remaining('a', 30, 0.25)  # half a minute of start-up, or resumed at a quarter
        assert estimator.remaining('a', 40, 0.5) == pytest.approx(20)

    def test_never_promises_the_past(self):
        assert Estimator({'a': 10}).remaining('a', 500, None) > 0
