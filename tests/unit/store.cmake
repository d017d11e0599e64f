# What every test of the store stands on.
add_library(pager_scratch STATIC scratch.c packfile.c)
target_link_libraries(pager_scratch PUBLIC pager_store PkgConfig::XXHASH)

foreach(name store codec pack packset packwriter run index workingset)
  pager_unit_test(${name} pager_scratch)
endforeach()
target_link_libraries(test_codec PRIVATE PkgConfig::ZSTD PkgConfig::LZ4)
