"""What holds for pagerfs holds for the mount of a daemon."""
import pytest

from mounts import DaemonMount
from test_mount import (  # noqa: F401 (fixtures and tests)
    mount,
    rich,
    test_64_parallel_readers,
    test_a_read_only_store,
    test_a_store_of_a_newer_format,
    test_a_store_of_another_user,
    test_attributes,
    test_inodes_and_times_are_stable,
    test_names_of_all_kinds,
    test_new_and_removed_show_at_once,
    test_pages_and_blocks,
    test_publishing_from_the_mount_itself,
    test_seek_in_every_file,
    test_tar_and_diff_of_a_whole_tree,
    test_ten_thousand_snapshots_that_come_and_go,
    test_tools_that_copy,
    test_what_is_open_cannot_be_removed,
)
from test_mount_faults import (  # noqa: F401
    test_a_damaged_manifest,
    test_a_flipped_bit_is_one_page_s_error,
    test_a_missing_pack,
    test_a_pack_cut_short_under_its_readers,
    test_a_read_that_fails_once_is_tried_again,
    test_interrupted_reads_leak_no_pins,
    test_many_ends_and_starts,
)


@pytest.fixture
def kind():
    return DaemonMount
