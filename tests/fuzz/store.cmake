foreach(name superblock slot pack run)
  pager_fuzz(${name} pager_store PkgConfig::XXHASH)
endforeach()
