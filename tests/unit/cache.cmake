# A block source in memory, for whoever stands on one.
add_library(pager_memory_source STATIC memory_source.c)
target_link_libraries(pager_memory_source PUBLIC pager_base)

add_library(pager_cache_rig STATIC cache_rig.c)
target_link_libraries(pager_cache_rig
  PUBLIC pager_cache pager_memory_source PkgConfig::CMOCKA)

pager_unit_test(cache pager_cache_rig)
pager_unit_test(resize pager_cache_rig)
pager_unit_test(curve pager_cache_rig)
pager_unit_test(pins pager_cache_rig pager_publishing)
pager_unit_test(trace pager_cache_rig pager_scratch)
pager_unit_test(cache_vms pager_uffd_bench)
pager_unit_test(fetch pager_cache pager_memory_source)
