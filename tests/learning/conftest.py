import os
import traceback

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Forked children must not meet the thread pool of their parent."""
    torch.set_num_threads(1)


@pytest.fixture
def in_child():
    """Run a function in a forked process; its exit code, or minus the signal that ended it."""

    def run(function) -> int:
        pid = os.fork()
        if pid == 0:
            code = 0
            try:
                function()
            except SystemExit as error:
                code = error.code
            except BaseException:
                traceback.print_exc()
                code = 99
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return run
