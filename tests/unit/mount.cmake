# A store with a cache in front, for what a mount stands on.
add_library(pager_mount_fixture STATIC mount_fixture.c)
target_link_libraries(pager_mount_fixture PUBLIC pager_mount pager_publishing)

foreach(name image pages tree mount)
  pager_unit_test(${name} pager_mount_fixture)
endforeach()
pager_unit_test(gather pager_mount pager_memory_source)
pager_unit_test(pagerfs_options pagerfs_options)
