# A daemon with VMMs, for what stands on a whole one.
add_library(pager_daemon_fixture STATIC daemon_fixture.c)
target_link_libraries(pager_daemon_fixture
  PUBLIC pager_control pager_scratch PkgConfig::CMOCKA)

pager_unit_test(options pager_options pager_scratch)
foreach(name base64 body pressure route rundir)
  pager_unit_test(${name} pager_control pager_scratch)
endforeach()
foreach(name registry server)
  pager_unit_test(${name} pager_daemon_fixture)
endforeach()
