# A block source in memory, for whoever stands on one.
add_library(pager_memory_source STATIC memory_source.c)
target_link_libraries(pager_memory_source PUBLIC pager_base)

pager_unit_test(cache pager_cache pager_memory_source)
pager_unit_test(fetch pager_cache pager_memory_source)
