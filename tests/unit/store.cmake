# What every test of the store stands on.
add_library(pager_scratch STATIC scratch.c)
target_link_libraries(pager_scratch PUBLIC pager_store PRIVATE PkgConfig::XXHASH)
target_compile_options(pager_scratch PRIVATE -Wno-cast-align)

foreach(name packwriter)
  pager_unit_test(${name} pager_scratch)
endforeach()
