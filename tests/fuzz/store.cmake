foreach(name superblock slot pack run workingset)
  pager_fuzz(${name} pager_store PkgConfig::XXHASH)
endforeach()
