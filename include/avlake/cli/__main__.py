from avlake.cli import main

main()
