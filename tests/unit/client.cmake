# What the control API answers and a session's socket serves, without a daemon.
add_library(pager_stub_daemon STATIC stub_daemon.c)
target_link_libraries(pager_stub_daemon
  PUBLIC pager_scratch PkgConfig::JANSSON Threads::Threads)

# Against the library itself: what it does not export is not there.
pager_unit_test(client pager pager_stub_daemon)

pager_unit_test(ctl pager_ctl pager_client pager_stub_daemon)

# A program that is run under the shim. ThreadSanitizer must be first in its
# process, as the shim must.
if(NOT PAGER_SANITIZE MATCHES "thread")
  add_executable(preload_user preload_user.c)
  target_link_libraries(preload_user PRIVATE pager_flags Threads::Threads)
  pager_unit_test(preload pager_stub_daemon)
  target_compile_definitions(test_preload PRIVATE
    PRELOAD="$<TARGET_FILE:pager-preload>"
    PRELOAD_USER="$<TARGET_FILE:preload_user>")
  add_dependencies(test_preload pager-preload preload_user)
endif()
