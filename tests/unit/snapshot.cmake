add_library(pager_image STATIC image.c)
target_link_libraries(pager_image PUBLIC pager_scratch PkgConfig::CMOCKA)

pager_unit_test(name pager_store)
pager_unit_test(manifest pager_store PkgConfig::XXHASH)
pager_unit_test(pagetable pager_store)
pager_unit_test(snapshot pager_scratch)
